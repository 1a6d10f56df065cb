"""How a report's page looks: light or dark as the reader's system has it, from a phone's width on."""

CSS = """
:root{--prefill:#e69f00;--decode:#56b4e9;--idle:#c9ccd1;--waiting:#8d939c;--unknown:#e4e6ea;
--bg:#fff;--fg:#1c1f24;--dim:#626a75;--line:#dfe2e7;--panel:#f6f7f9;--hatch:#eceef1;--good:#00724f;--bad:#b3261e;--c1:#0072b2}
@media(prefers-color-scheme:dark){:root{--idle:#4b515b;--waiting:#7b828d;--unknown:#2c3038;
--bg:#14161a;--fg:#e6e8eb;--dim:#98a0ab;--line:#2d323a;--panel:#1b1e24;--hatch:#1f232a;--good:#4cc79c;--bad:#ff8a80;--c1:#4f9fd8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:2px 0;overflow-wrap:anywhere}
h1 b{display:inline-block;min-width:1.4em;color:var(--dim)}
h2{font-size:19px;margin:0 0 8px}h3{font-size:14px;margin:22px 0 6px}
p{margin:6px 0;max-width:76ch}.small,.when,.brand{color:var(--dim);font-size:13px;overflow-wrap:anywhere}
.brand{letter-spacing:.04em}
.machines{margin:6px 0 14px;padding-left:18px;color:var(--dim);font-size:13px;overflow-wrap:anywhere}
.wall{display:flex;height:30px;border-radius:4px;overflow:hidden;margin-top:12px}
.keys,figcaption{font-size:13px}.key{display:inline-block;margin:0 14px 0 0;white-space:nowrap;color:var(--dim)}
.key b{color:var(--fg)}.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.summary{background:var(--panel);border:1px solid var(--line);border-radius:6px;margin:16px 0;
padding:12px 16px 12px 32px}
.summary li{margin:3px 0;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;margin:0 0 10px}nav a{color:var(--dim)}
section{border-top:1px solid var(--line);padding-top:22px;margin-top:30px}
.advice{border-left:3px solid var(--prefill);padding:2px 0 2px 12px;overflow-wrap:anywhere}
.figures{border-bottom:1px solid var(--line)}
.f{display:grid;grid-template-columns:minmax(0,30fr) minmax(92px,14fr) minmax(0,20fr) 62px minmax(0,36fr);gap:0 12px;
border-top:1px solid var(--line);padding:6px 0;align-items:baseline}
.v,.n{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}.v{font-weight:600}
.b,.e{color:var(--dim);font-size:13px;font-variant-numeric:tabular-nums}
.c{font-size:12px;color:var(--dim);border:1px solid var(--line);border-radius:9px;text-align:center}
.c.high{color:var(--fg)}.c.low{border-style:dashed}
.e{grid-column:5}.missing{color:var(--dim);font-size:13px;padding-left:18px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;min-width:100%}
th,td{padding:5px 14px 5px 0;text-align:left;border-top:1px solid var(--line);font-weight:400;vertical-align:baseline}
thead th{color:var(--dim);border-top:0;font-size:12.5px}th.n,td.n{text-align:right}
td:first-child{overflow-wrap:anywhere;min-width:9em}
.diff tr.noise{color:var(--dim)}.diff tr.real th,.diff tr.real .w{font-weight:600}
.diff .good .w{color:var(--good)}.diff .bad .w{color:var(--bad)}.diff td{white-space:nowrap}
.plot{margin:18px 0 14px}figcaption{font-weight:600;margin-bottom:6px}
figcaption .key{font-weight:400;margin:0 0 0 14px}
.frame{display:grid;grid-template-columns:56px minmax(0,1fr);grid-template-rows:190px 22px}
.area.bands{background:repeating-linear-gradient(45deg,var(--hatch) 0 3px,transparent 3px 7px)}
.area{border:1px solid var(--line);border-width:0 0 1px 1px}
.area svg{display:block;width:100%;height:100%;overflow:visible}
.y{position:relative}.y span{position:absolute;right:8px;transform:translateY(50%);font-size:12px;color:var(--dim);
white-space:nowrap}
.x{grid-column:2;position:relative}.x span{position:absolute;top:4px;transform:translateX(-50%);font-size:12px;
color:var(--dim);white-space:nowrap}
.x .l{transform:none}.x .r{transform:translateX(-100%)}
.grid,.line,.mark,.dot{vector-effect:non-scaling-stroke;fill:none}
.grid{stroke:var(--line);stroke-width:1}.line{stroke-width:1.8;stroke-linejoin:round}
.dot{stroke-width:5;stroke-linecap:round;opacity:.6}.dot.big{stroke-width:13;opacity:1}
.mark{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}
.tip{fill:transparent}.tip:hover{fill:var(--fg);opacity:.12}
footer{border-top:1px solid var(--line);margin-top:36px;color:var(--dim);font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0}dd{margin:0}
@media(max-width:640px){main{padding:18px 14px 40px}h1{font-size:21px}
.f{grid-template-columns:minmax(0,1fr) auto;gap:1px 10px}.b{grid-column:1}.c{grid-column:2;grid-row:2;
justify-self:end;align-self:start;padding:0 8px}.e{grid-column:1}.b:empty{display:none}
.diff,.diff tbody{display:block}.diff thead{display:none}.diff tr{display:flex;flex-wrap:wrap;gap:0 14px;
border-top:1px solid var(--line);padding:5px 0}
.diff th,.diff td{border:0;padding:1px 6px 1px 0;text-align:left!important}
.diff th{flex-basis:100%}.diff td:empty{display:none}
.diff td[data-l]::before{content:attr(data-l) " ";color:var(--dim)}
.frame{grid-template-columns:46px minmax(0,1fr);grid-template-rows:150px 22px}
.x span:nth-child(2n){display:none}figcaption .key{margin:0 12px 0 0}
figcaption .key:first-of-type{margin-left:10px}}
@media print{.area.bands{background:none}section{break-inside:avoid}}
""".strip()

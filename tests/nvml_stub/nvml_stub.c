/*
 * A stand-in for libnvidia-ml.so.1 at the C ABI.
 *
 * One to sixteen GPUs run through scripted stages (say prefill, decode, idle). GPM samples and
 * counters are the exact integrals of that script, so an average between two samples is known in
 * advance. The script and any faults stand in a small text file that is read again whenever it
 * changes:
 *
 *     PHASETOP_NVML_STUB         path of the control file (none: eight H100s and the default stages)
 *     PHASETOP_NVML_STUB_COUNTS  path of a file to count calls in: records of 56 bytes of symbol
 *                                name and a 64-bit count
 *
 * Control file, one entry per line, `@G` for GPU G alone:
 *
 *     gpus N                       how many, at the next nvmlInit
 *     order 2 0 1                  which GPU each index is
 *     driver TEXT                  driver version
 *     name[@G] TEXT                product name
 *     stage SECONDS key=value ...  replaces the default stages; keys as in `stage_keys` below
 *     offset@G SECONDS             GPU G is this far ahead in the stages
 *     time SECONDS                 stop the clock there (else CLOCK_MONOTONIC)
 *     since[@G] SECONDS            counters count from that time on (a driver reload resets them)
 *     value[@G] KEY NUMBER         an instantaneous value, overriding the stage; also of `fixed_keys`
 *     field[@G] ID CODE            this field value is refused with this code
 *     metric[@G] ID VALUE          this GPM metric has this value (may be nan)
 *     refuse[@G] ID CODE           this GPM metric is refused with this code
 *     leave[@G] ID                 this GPM metric is left as the caller had it
 *     process[@G] PID BYTES [GI]   a compute process
 *     mig@G GI SMS MEGABYTES PROFILE   a GPU instance with one compute instance; any turns MIG on for that GPU.
 *                                  Its activity is the GPU's script as it is GI seconds later. The same GI in
 *                                  further lines: as many compute instances share it.
 *     xid@G CODE SERIAL            an error report, told once to whoever waits; serials grow
 *     fail[@G] SYMBOL CODE         calls of this symbol (or of all: *) return this code
 *     sleep[@G] SYMBOL MICROSECONDS
 *     hang[@G] SYMBOL              until the line is gone
 *     crash[@G] SYMBOL             with a segmentation fault
 *
 * Symbols are left out altogether, as in an old driver, with a linker version script (build.py).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef TRAPS /* symbols that a reader must never call: counted and refused */
#define TRAPS(X)
#endif

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMED_OUT = 10, ARGUMENT_VERSION_MISMATCH = 25
};
enum { GPUS = 16, STAGES = 16, RULES = 64, PROCESSES = 256, REPORTS = 64, INSTANCES = 32, TEXT = 96 };

/* -- what the script says ------------------------------------------------------------------- */

enum stage_key {
    SM, TENSOR, DRAM, OCCUPANCY, KERNEL, MEMORY, POWER, PCIE_TX, PCIE_RX, NVLINK_TX, NVLINK_RX,
    CAP, SW_THERMAL, HW_THERMAL, BRAKE, SM_MHZ, MEMORY_MHZ, CELSIUS, MEMORY_CELSIUS, STAGE_KEYS
};
/* ratios 0..1; power in W; pcie and nvlink in MiB/s; cap .. brake: share of the time throttled */
static const char *const stage_keys[STAGE_KEYS] = {
    "sm", "tensor", "dram", "occupancy", "kernel", "memory", "power", "pcie_tx", "pcie_rx", "nvlink_tx", "nvlink_rx",
    "cap", "sw_thermal", "hw_thermal", "brake", "sm_mhz", "memory_mhz", "celsius", "memory_celsius"
};
enum fixed_key {
    POWER_MILLIWATTS = STAGE_KEYS, REASONS, USED_BYTES, TOTAL_BYTES, RESERVED_BYTES, LIMIT_MILLIWATTS, SM_MAX_MHZ,
    MEMORY_MAX_MHZ, BUS_BITS, GPM_SUPPORT, THRESHOLD_CELSIUS, MARGIN_CELSIUS, SLOWDOWN_MARGIN,
    ECC_CORRECTED, ECC_UNCORRECTED, REMAPPED_CORRECTED, REMAPPED_UNCORRECTED, REMAP_PENDING, REMAP_FAILED, RECOVERY,
    LINK_GENERATION, LINK_GENERATION_MAX, LINK_WIDTH, LINK_WIDTH_MAX, PERSISTENCE, MEMORY_THRESHOLD_CELSIUS,
    PCIE_WRAPS, PCIE_NARROW, R535_PROCESSES, KEYS
};
static const char *const fixed_keys[KEYS - STAGE_KEYS] = {
    "power_mw", "reasons", "used", "total", "reserved", "limit_mw", "sm_max_mhz", "memory_max_mhz", "bus_bits",
    "gpm_support", "threshold", "margin", "slowdown_margin",
    "ecc_corrected", "ecc_uncorrected", "remapped_corrected", "remapped_uncorrected", "remap_pending", "remap_failed",
    "recovery", "link_generation", "link_generation_max", "link_width", "link_width_max", "persistence",
    "memory_threshold", "pcie_wraps", "pcie_narrow", "r535_processes"
};
static const double fixed_defaults[KEYS - STAGE_KEYS] = {
    -1, -1, 70866960384.0, 85899345920.0, 605290496.0, 700000, 1980, 2619, 5120, 1, -1, -1, -2,
    0, 0, 0, 0, 0, 0, 0, 5, 5, 16, 16, 1, -1, 0, 0, 0
};

struct stage { double seconds, value[STAGE_KEYS]; };
static const struct stage default_stages[] = {
    /* prefill: the tensor cores are busy and the power cap is felt */
    { 2.0, { .96, .61, .34, .42, 1.0, .45, 690, 800, 2400, 5200, 5100, .30, 0, 0, 0, 1755, 2619, 64, 71 } },
    /* decode: the memory is */
    { 4.0, { .83, .07, .72, .27, 1.0, .88, 480, 120, 260, 1500, 1450, 0, 0, 0, 0, 1980, 2619, 58, 75 } },
    /* idle */
    { 1.0, { 0, 0, 0, 0, 0, 0, 118, 2, 4, 0, 0, 0, 0, 0, 0, 345, 2619, 47, 58 } },
};

enum rule_kind { FAIL, SLEEP, HANG, CRASH, FIELD, METRIC, REFUSE, LEAVE };
struct rule { enum rule_kind kind; int gpu; char symbol[64]; int id; double number; };

struct device { unsigned magic; int number, instance; }; /* instance: -1, or the id of a GPU instance */

static struct script {
    int gpus, order[GPUS], stage_count, rule_count, process_count, report_count;
    char driver[TEXT], name[GPUS][TEXT];
    struct stage stage[STAGES];
    struct rule rule[RULES];
    struct { int gpu; unsigned pid, instance; unsigned long long bytes; } process[PROCESSES];
    struct { int gpu, code, serial; } report[REPORTS];
    struct instance { int gpu, id, multiprocessors, megabytes; char profile[16]; } instance[INSTANCES];
    int instance_count;
    double offset[GPUS], since[GPUS], time, value[GPUS][KEYS];
} script;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[GPUS], parts[GPUS][INSTANCES]; /* parts: by the id of the GPU instance */
static int initialised, counted;

static int key_of(const char *name) {
    for (int k = 0; k < STAGE_KEYS; k++) if (!strcmp(name, stage_keys[k])) return k;
    for (int k = STAGE_KEYS; k < KEYS; k++) if (!strcmp(name, fixed_keys[k - STAGE_KEYS])) return k;
    fprintf(stderr, "nvml_stub: no value is called %s\n", name);
    abort();
}

static void defaults(struct script *s) {
    memset(s, 0, sizeof *s);
    s->gpus = 8;
    s->time = NAN;
    strcpy(s->driver, "580.65.06");
    s->stage_count = sizeof default_stages / sizeof *default_stages;
    memcpy(s->stage, default_stages, sizeof default_stages);
    for (int g = 0; g < GPUS; g++) {
        s->order[g] = g;
        strcpy(s->name[g], "NVIDIA H100 80GB HBM3");
        for (int k = 0; k < STAGE_KEYS; k++) s->value[g][k] = NAN;
        for (int k = STAGE_KEYS; k < KEYS; k++) s->value[g][k] = fixed_defaults[k - STAGE_KEYS];
    }
}

static void read_stage(struct script *s, char *text, int first) {
    if (first) s->stage_count = 0;
    if (s->stage_count == STAGES) return;
    struct stage *stage = &s->stage[s->stage_count++];
    memset(stage, 0, sizeof *stage);
    char *save, *word = strtok_r(text, " \t", &save);
    stage->seconds = word ? atof(word) : 1;
    while ((word = strtok_r(NULL, " \t", &save))) {
        char *equals = strchr(word, '=');
        if (!equals) continue;
        *equals = 0;
        int key = key_of(word);
        if (key < STAGE_KEYS) stage->value[key] = atof(equals + 1);
    }
}

static void read_rule(struct script *s, const char *word, int gpu, const char *rest) {
    static const char *const names[] = { "fail", "sleep", "hang", "crash", "field", "metric", "refuse", "leave" };
    for (int kind = FAIL; kind <= LEAVE; kind++) {
        if (strcmp(word, names[kind]) || s->rule_count == RULES) continue;
        struct rule *rule = &s->rule[s->rule_count++];
        char number[64] = "";
        memset(rule, 0, sizeof *rule);
        rule->kind = kind;
        rule->gpu = gpu;
        sscanf(rest, "%63s %63s", rule->symbol, number);
        rule->id = atoi(rule->symbol);
        rule->number = atof(number);
        return;
    }
    fprintf(stderr, "nvml_stub: no entry is called %s\n", word);
    abort();
}

/* Apply one line; `@G` limits it to one GPU. */
static void read_line(struct script *s, char *line, int *stages_seen) {
    char *hash = strchr(line, '#'), word[32] = "";
    int used = 0, gpu = -1;
    if (hash) *hash = 0;
    line[strcspn(line, "\r\n")] = 0;
    if (sscanf(line, "%31s%n", word, &used) != 1) return;
    char *rest = line + used, *at = strchr(word, '@');
    rest += strspn(rest, " \t");
    if (at) { *at = 0; gpu = atoi(at + 1); }
    if (gpu >= GPUS) return;
    int low = gpu < 0 ? 0 : gpu, high = gpu < 0 ? GPUS : gpu + 1;
    if (!strcmp(word, "gpus")) s->gpus = atoi(rest) < GPUS ? atoi(rest) : GPUS;
    else if (!strcmp(word, "order")) {
        char *save, *one = strtok_r(rest, " \t", &save);
        for (int i = 0; one && i < GPUS; i++, one = strtok_r(NULL, " \t", &save)) s->order[i] = atoi(one) % GPUS;
    }
    else if (!strcmp(word, "driver")) snprintf(s->driver, TEXT, "%s", rest);
    else if (!strcmp(word, "stage")) read_stage(s, rest, !(*stages_seen)++);
    else if (!strcmp(word, "time")) s->time = atof(rest);
    else if (!strcmp(word, "name")) for (int g = low; g < high; g++) snprintf(s->name[g], TEXT, "%s", rest);
    else if (!strcmp(word, "offset")) for (int g = low; g < high; g++) s->offset[g] = atof(rest);
    else if (!strcmp(word, "since")) for (int g = low; g < high; g++) s->since[g] = atof(rest);
    else if (!strcmp(word, "value")) {
        char name[32] = "", number[64] = "";
        sscanf(rest, "%31s %63s", name, number);
        for (int g = low; g < high; g++) s->value[g][key_of(name)] = atof(number);
    }
    else if (!strcmp(word, "process")) {
        if (s->process_count == PROCESSES) return;
        s->process[s->process_count].gpu = gpu;
        s->process[s->process_count].instance = ~0u;
        sscanf(rest, "%u %llu %u", &s->process[s->process_count].pid, &s->process[s->process_count].bytes,
               &s->process[s->process_count].instance);
        s->process_count++;
    }
    else if (!strcmp(word, "mig")) {
        if (s->instance_count == INSTANCES) return;
        struct instance *one = &s->instance[s->instance_count++];
        one->gpu = gpu;
        sscanf(rest, "%d %d %d %15s", &one->id, &one->multiprocessors, &one->megabytes, one->profile);
    }
    else if (!strcmp(word, "xid")) {
        if (s->report_count == REPORTS) return;
        s->report[s->report_count].gpu = gpu;
        sscanf(rest, "%d %d", &s->report[s->report_count].code, &s->report[s->report_count].serial);
        s->report_count++;
    }
    else read_rule(s, word, gpu, rest);
}

/* Read the control file when it has changed. Caller holds the lock. */
static void refresh(void) {
    static struct stat seen;
    static int ready;
    const char *path = getenv("PHASETOP_NVML_STUB");
    struct stat now;
    if (!path || stat(path, &now)) {
        if (!ready) { defaults(&script); ready = 1; }
        return;
    }
    if (ready && now.st_ino == seen.st_ino && now.st_size == seen.st_size
        && now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[1024];
    int stages_seen = 0;
    defaults(&script);
    while (fgets(line, sizeof line, file)) read_line(&script, line, &stages_seen);
    fclose(file);
    seen = now;
    ready = 1;
}

/* -- time and what has gone by in it -------------------------------------------------------- */

static double now_seconds(void) {
    if (!isnan(script.time)) return script.time;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double period(void) {
    double sum = 0;
    for (int i = 0; i < script.stage_count; i++) sum += script.stage[i].seconds;
    return sum;
}

/* The integral of one value of the script over [0, t], each GPU at its own offset. */
static double integral(int gpu, enum stage_key key, double t) {
    double whole = 0, length = period(), sum, rest;
    if (!isnan(script.value[gpu][key])) return script.value[gpu][key] * t;
    t += script.offset[gpu];
    for (int i = 0; i < script.stage_count; i++) whole += script.stage[i].value[key] * script.stage[i].seconds;
    sum = floor(t / length) * whole;
    rest = t - floor(t / length) * length;
    for (int i = 0; i < script.stage_count && rest > 0; rest -= script.stage[i++].seconds)
        sum += script.stage[i].value[key] * fmin(rest, script.stage[i].seconds);
    return sum;
}

/* A counter: the integral since the driver was loaded. */
static double counter(int gpu, enum stage_key key) {
    return integral(gpu, key, now_seconds()) - integral(gpu, key, script.since[gpu]);
}

/* A value at this moment. */
static double present(int gpu, int key) {
    if (key >= STAGE_KEYS || !isnan(script.value[gpu][key])) return script.value[gpu][key];
    double rest = fmod(now_seconds() + script.offset[gpu], period());
    int i = 0;
    while (i < script.stage_count - 1 && rest >= script.stage[i].seconds) rest -= script.stage[i++].seconds;
    return script.stage[i].value[key];
}

/* -- every call comes through here ---------------------------------------------------------- */

#define SYMBOLS(X) \
    X(nvmlInitWithFlags) X(nvmlInit_v2) X(nvmlShutdown) X(nvmlErrorString) X(nvmlSystemGetDriverVersion) \
    X(nvmlSystemGetNVMLVersion) X(nvmlSystemGetCudaDriverVersion) X(nvmlSystemGetCudaDriverVersion_v2) \
    X(nvmlDeviceGetCount_v2) X(nvmlDeviceGetHandleByIndex_v2) X(nvmlDeviceGetHandleByUUID) \
    X(nvmlDeviceGetHandleByPciBusId_v2) X(nvmlDeviceGetIndex) X(nvmlDeviceGetName) X(nvmlDeviceGetUUID) \
    X(nvmlDeviceGetPciInfo_v3) X(nvmlDeviceGetMemoryInfo) X(nvmlDeviceGetMemoryInfo_v2) \
    X(nvmlDeviceGetUtilizationRates) X(nvmlDeviceGetPowerUsage) X(nvmlDeviceGetPowerManagementLimit) \
    X(nvmlDeviceGetEnforcedPowerLimit) X(nvmlDeviceGetTemperature) X(nvmlDeviceGetTemperatureV) \
    X(nvmlDeviceGetTemperatureThreshold) X(nvmlDeviceGetMarginTemperature) X(nvmlDeviceGetClockInfo) \
    X(nvmlDeviceGetMaxClockInfo) X(nvmlDeviceGetPerformanceState) X(nvmlDeviceGetCudaComputeCapability) \
    X(nvmlDeviceGetMemoryBusWidth) X(nvmlDeviceGetComputeRunningProcesses_v3) \
    X(nvmlDeviceGetGraphicsRunningProcesses_v3) X(nvmlDeviceGetMPSComputeRunningProcesses_v3) X(nvmlEventSetWait_v2) \
    X(nvmlEventSetCreate) X(nvmlEventSetFree) X(nvmlDeviceRegisterEvents) X(nvmlDeviceGetCurrPcieLinkGeneration) \
    X(nvmlDeviceGetCurrPcieLinkWidth) X(nvmlDeviceGetMaxPcieLinkGeneration) X(nvmlDeviceGetMaxPcieLinkWidth) \
    X(nvmlDeviceGetFieldValues) X(nvmlDeviceGetRemappedRows) X(nvmlDeviceGetCurrentClocksEventReasons) \
    X(nvmlDeviceGetCurrentClocksThrottleReasons) X(nvmlDeviceGetTotalEnergyConsumption) \
    X(nvmlGpmQueryDeviceSupport) X(nvmlGpmSampleAlloc) X(nvmlGpmSampleFree) X(nvmlGpmSampleGet) \
    X(nvmlGpmMigSampleGet) X(nvmlGpmMetricsGet) X(nvmlDeviceGetFanSpeed) X(nvmlDeviceGetPersistenceMode) \
    X(nvmlDeviceGetDisplayActive) X(nvmlDeviceGetTotalEccErrors) X(nvmlDeviceGetComputeMode) X(nvmlDeviceGetMigMode) \
    X(nvmlDeviceIsMigDeviceHandle) X(nvmlDeviceGetEncoderUtilization) X(nvmlDeviceGetDecoderUtilization) \
    X(nvmlDeviceGetDriverModel) X(nvmlDeviceGetDriverModel_v2) X(nvmlDeviceGetProcessUtilization) \
    X(nvmlDeviceGetPcieThroughput) X(nvmlDeviceGetMaxMigDeviceCount) X(nvmlDeviceGetMigDeviceHandleByIndex) \
    X(nvmlDeviceGetGpuInstanceId) X(nvmlDeviceGetComputeInstanceId) X(nvmlDeviceGetAttributes_v2) \
    X(nvmlDeviceGetNumGpuCores) X(nvmlDeviceGetComputeRunningProcesses_v2) X(nvmlDeviceGetRunningProcessDetailList) \
    X(nvmlDeviceGetConfComputeMemSizeInfo)

#define INDEX(symbol) I_##symbol,
enum symbol { SYMBOLS(INDEX) TRAPS(INDEX) SYMBOL_COUNT };
#define NAME(symbol) #symbol,
static const char *const symbol_names[] = { SYMBOLS(NAME) TRAPS(NAME) };

static void count(enum symbol symbol) {
    static struct { char name[56]; uint64_t calls; } *records;
    static char opened[4096];
    const char *path = getenv("PHASETOP_NVML_STUB_COUNTS");
    if (path && strcmp(path, opened)) {
        size_t size = SYMBOL_COUNT * sizeof *records;
        int file = open(path, O_RDWR | O_CREAT, 0600);
        if (records) munmap(records, size);
        records = NULL;
        snprintf(opened, sizeof opened, "%s", path);
        if (file >= 0 && !ftruncate(file, size)) {
            records = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (records == MAP_FAILED) records = NULL;
            for (int i = 0; records && i < SYMBOL_COUNT; i++) strncpy(records[i].name, symbol_names[i], 55);
        }
        if (file >= 0) close(file);
    }
    if (records) __atomic_add_fetch(&records[symbol].calls, 1, __ATOMIC_RELAXED);
}

static const struct rule *rule_for(enum rule_kind kind, enum symbol symbol, int gpu) {
    for (int i = 0; i < script.rule_count; i++) {
        const struct rule *rule = &script.rule[i];
        if (rule->kind == kind && (rule->gpu < 0 || rule->gpu == gpu)
            && (!strcmp(rule->symbol, "*") || !strcmp(rule->symbol, symbol_names[symbol]))) return rule;
    }
    return NULL;
}

/* Count the call and let the faults have their way. Returns the code to fail with, or 0. */
static int enter(enum symbol symbol, int gpu) {
    const struct rule *rule;
    int code = 0;
    double pause = 0;
    pthread_mutex_lock(&lock);
    refresh();
    count(symbol);
    while (rule_for(HANG, symbol, gpu)) {
        pthread_mutex_unlock(&lock);
        usleep(5000);
        pthread_mutex_lock(&lock);
        refresh();
    }
    if (rule_for(CRASH, symbol, gpu)) raise(SIGSEGV);
    if ((rule = rule_for(SLEEP, symbol, gpu))) pause = rule->number;
    if ((rule = rule_for(FAIL, symbol, gpu))) code = (int)rule->number;
    if (!code && !initialised && symbol != I_nvmlInitWithFlags && symbol != I_nvmlInit_v2) code = UNINITIALIZED;
    pthread_mutex_unlock(&lock);
    if (pause > 0) usleep((useconds_t)pause);
    return code;
}

/* Leave with the fault's code if there is one. */
#define ENTER(symbol, gpu) do { int fault = enter(I_##symbol, gpu); if (fault) return fault; } while (0)

/* The same for a call about one device; a handle that is none is an invalid argument. */
#define DEVICE(symbol, handle) \
    int gpu = number_of(handle); \
    if (gpu < 0) { count(I_##symbol); return INVALID_ARGUMENT; } \
    ENTER(symbol, gpu)

static int number_of(const struct device *handle) {
    for (int g = 0; g < GPUS; g++) {
        if (handle == &devices[g]) return g;
        if (handle >= parts[g] && handle < parts[g] + INSTANCES) return g;
    }
    return -1;
}

/* The GPU instance a handle is of; NULL for a whole GPU, and for an instance that is no more. */
static const struct instance *instance_of(const struct device *handle) {
    if (handle->instance < 0) return NULL;
    for (int i = 0; i < script.instance_count; i++)
        if (script.instance[i].gpu == handle->number && script.instance[i].id == handle->instance)
            return &script.instance[i];
    return NULL;
}
static int has_mig(int gpu) {
    for (int i = 0; i < script.instance_count; i++) if (script.instance[i].gpu == gpu) return 1;
    return 0;
}

static int put_text(char *out, unsigned size, const char *text) {
    if (strlen(text) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

/* -- the library and its devices ------------------------------------------------------------ */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ENTER(nvmlInitWithFlags, -1);
    for (int g = 0; g < GPUS; g++) {
        devices[g] = (struct device){ 0x4e564d4c, g, -1 };
        for (int i = 0; i < INSTANCES; i++) parts[g][i] = (struct device){ 0x4e564d4c, g, i };
    }
    initialised = 1;
    counted = script.gpus;
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { ENTER(nvmlShutdown, -1); initialised = 0; return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; count(I_nvmlErrorString); return "stand-in error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) {
    ENTER(nvmlSystemGetDriverVersion, -1);
    return put_text(out, n, script.driver);
}
int nvmlSystemGetNVMLVersion(char *out, unsigned n) {
    ENTER(nvmlSystemGetNVMLVersion, -1);
    return put_text(out, n, "13.580.65.06");
}
int nvmlSystemGetCudaDriverVersion(int *out) { ENTER(nvmlSystemGetCudaDriverVersion, -1); *out = 13000; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER(nvmlSystemGetCudaDriverVersion_v2, -1);
    *out = 13000;
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(unsigned *out) { ENTER(nvmlDeviceGetCount_v2, -1); *out = counted; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **out) {
    if (index >= (unsigned)counted) { count(I_nvmlDeviceGetHandleByIndex_v2); return INVALID_ARGUMENT; }
    ENTER(nvmlDeviceGetHandleByIndex_v2, script.order[index]);
    *out = &devices[script.order[index]];
    return SUCCESS;
}

static void uuid_of(int gpu, char *out, unsigned size) { snprintf(out, size, "GPU-5c0ffee5-0000-4000-8000-%012x", gpu); }

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **out) {
    char one[64];
    for (int g = 0; g < counted; g++) {
        uuid_of(g, one, sizeof one);
        if (strcmp(one, uuid)) continue;
        ENTER(nvmlDeviceGetHandleByUUID, g);
        *out = &devices[g];
        return SUCCESS;
    }
    ENTER(nvmlDeviceGetHandleByUUID, -1);
    return NOT_FOUND;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, struct device **out) {
    unsigned domain, number;
    ENTER(nvmlDeviceGetHandleByPciBusId_v2, -1);
    if (sscanf(bus, "%x:%x", &domain, &number) != 2 || number < 0x10 || number >= 0x10u + counted) return NOT_FOUND;
    *out = &devices[number - 0x10];
    return SUCCESS;
}
int nvmlDeviceGetIndex(struct device *d, unsigned *out) {
    DEVICE(nvmlDeviceGetIndex, d);
    for (int i = 0; i < counted; i++) if (script.order[i] == gpu) { *out = i; return SUCCESS; }
    return NOT_FOUND;
}
int nvmlDeviceGetName(struct device *d, char *out, unsigned n) {
    DEVICE(nvmlDeviceGetName, d);
    const struct instance *part = instance_of(d);
    char name[TEXT + 32];
    if (!part) return put_text(out, n, script.name[gpu]);
    snprintf(name, sizeof name, "%s MIG %s", script.name[gpu], part->profile);
    return put_text(out, n, name);
}
int nvmlDeviceGetUUID(struct device *d, char *out, unsigned n) {
    DEVICE(nvmlDeviceGetUUID, d);
    if (d->instance < 0) uuid_of(gpu, out, n);
    else snprintf(out, n, "MIG-5c0ffee5-0000-4000-8000-%06x%06x", d->instance, gpu);
    return SUCCESS;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct device *d, struct pci *out) {
    DEVICE(nvmlDeviceGetPciInfo_v3, d);
    memset(out, 0, sizeof *out);
    out->bus = 0x10 + gpu;
    out->id = 0x233010de;
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return SUCCESS;
}

/* -- levels --------------------------------------------------------------------------------- */

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo(struct device *d, struct memory *out) {
    DEVICE(nvmlDeviceGetMemoryInfo, d);
    if (instance_of(d)) {
        out->total = instance_of(d)->megabytes * 1048576ull;
        out->used = out->total / 2;
        out->free = out->total - out->used;
        return SUCCESS;
    }
    out->total = present(gpu, TOTAL_BYTES);
    out->used = present(gpu, USED_BYTES) + present(gpu, RESERVED_BYTES);
    out->free = out->total - out->used;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(struct device *d, struct memory_v2 *out) {
    DEVICE(nvmlDeviceGetMemoryInfo_v2, d);
    if (out->version != 0x02000028) return ARGUMENT_VERSION_MISMATCH;
    if (instance_of(d)) {
        out->total = instance_of(d)->megabytes * 1048576ull;
        out->used = out->total / 2;
        out->reserved = 0;
        out->free = out->total - out->used;
        return SUCCESS;
    }
    out->total = present(gpu, TOTAL_BYTES);
    out->used = present(gpu, USED_BYTES);
    out->reserved = present(gpu, RESERVED_BYTES);
    out->free = out->total - out->used - out->reserved;
    return SUCCESS;
}
struct utilization { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(struct device *d, struct utilization *out) {
    DEVICE(nvmlDeviceGetUtilizationRates, d);
    if (has_mig(gpu)) return NOT_SUPPORTED;
    out->gpu = (unsigned)lround(present(gpu, KERNEL) * 100);
    out->memory = (unsigned)lround(present(gpu, MEMORY) * 100);
    return SUCCESS;
}
static unsigned milliwatts(int gpu) {
    double fixed = present(gpu, POWER_MILLIWATTS);
    return (unsigned)(fixed >= 0 ? fixed : present(gpu, POWER) * 1000);
}
#define UNSIGNED(symbol, expression) \
    int symbol(struct device *d, unsigned *out) { DEVICE(symbol, d); *out = (unsigned)(expression); return SUCCESS; }
UNSIGNED(nvmlDeviceGetPowerUsage, milliwatts(gpu))
UNSIGNED(nvmlDeviceGetPowerManagementLimit, present(gpu, LIMIT_MILLIWATTS))
UNSIGNED(nvmlDeviceGetEnforcedPowerLimit, present(gpu, LIMIT_MILLIWATTS))
UNSIGNED(nvmlDeviceGetMemoryBusWidth, present(gpu, BUS_BITS))
UNSIGNED(nvmlDeviceGetPerformanceState, 0)
UNSIGNED(nvmlDeviceGetPersistenceMode, present(gpu, PERSISTENCE))
UNSIGNED(nvmlDeviceGetCurrPcieLinkGeneration, present(gpu, LINK_GENERATION))
UNSIGNED(nvmlDeviceGetMaxPcieLinkGeneration, present(gpu, LINK_GENERATION_MAX))
UNSIGNED(nvmlDeviceGetCurrPcieLinkWidth, present(gpu, LINK_WIDTH))
UNSIGNED(nvmlDeviceGetMaxPcieLinkWidth, present(gpu, LINK_WIDTH_MAX))
UNSIGNED(nvmlDeviceGetDisplayActive, 0)
UNSIGNED(nvmlDeviceGetComputeMode, 0)
UNSIGNED(nvmlDeviceIsMigDeviceHandle, 0)

int nvmlDeviceGetTemperature(struct device *d, unsigned sensor, unsigned *out) {
    DEVICE(nvmlDeviceGetTemperature, d);
    if (sensor) return INVALID_ARGUMENT;
    *out = (unsigned)present(gpu, CELSIUS);
    return SUCCESS;
}
struct temperature { unsigned version, sensor; int value; };
int nvmlDeviceGetTemperatureV(struct device *d, struct temperature *out) {
    DEVICE(nvmlDeviceGetTemperatureV, d);
    if (out->version != 0x0100000C) return ARGUMENT_VERSION_MISMATCH;
    out->value = (int)present(gpu, CELSIUS);
    return SUCCESS;
}
int nvmlDeviceGetTemperatureThreshold(struct device *d, unsigned kind, unsigned *out) {
    DEVICE(nvmlDeviceGetTemperatureThreshold, d);
    double limit = kind == 1 ? present(gpu, THRESHOLD_CELSIUS) : kind == 2 ? present(gpu, MEMORY_THRESHOLD_CELSIUS) : -1;
    if (limit < 0) return NOT_SUPPORTED; /* as from Ada on */
    *out = (unsigned)limit;
    return SUCCESS;
}
struct margin { unsigned version; int value; };
int nvmlDeviceGetMarginTemperature(struct device *d, struct margin *out) {
    DEVICE(nvmlDeviceGetMarginTemperature, d);
    if (out->version != 0x01000008) return ARGUMENT_VERSION_MISMATCH;
    /* degrees left until the highest operating temperature, 85 unless the script gives the margin */
    out->value = (int)(present(gpu, MARGIN_CELSIUS) >= 0 ? present(gpu, MARGIN_CELSIUS) : 85 - present(gpu, CELSIUS));
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(struct device *d, unsigned type, unsigned *out) {
    DEVICE(nvmlDeviceGetClockInfo, d);
    *out = (unsigned)present(gpu, type == 2 ? MEMORY_MHZ : SM_MHZ);
    return SUCCESS;
}
int nvmlDeviceGetMaxClockInfo(struct device *d, unsigned type, unsigned *out) {
    DEVICE(nvmlDeviceGetMaxClockInfo, d);
    *out = (unsigned)present(gpu, type == 2 ? MEMORY_MAX_MHZ : SM_MAX_MHZ);
    return SUCCESS;
}
static unsigned long long reasons(int gpu) {
    if (present(gpu, REASONS) >= 0) return (unsigned long long)present(gpu, REASONS);
    return (present(gpu, CAP) > 0 ? 0x4 : 0) | (present(gpu, SW_THERMAL) > 0 ? 0x20 : 0)
        | (present(gpu, HW_THERMAL) > 0 ? 0x48 : 0) | (present(gpu, BRAKE) > 0 ? 0x88 : 0);
}
int nvmlDeviceGetCurrentClocksEventReasons(struct device *d, unsigned long long *out) {
    DEVICE(nvmlDeviceGetCurrentClocksEventReasons, d);
    *out = reasons(gpu);
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *d, unsigned long long *out) {
    DEVICE(nvmlDeviceGetCurrentClocksThrottleReasons, d);
    *out = reasons(gpu);
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(struct device *d, unsigned long long *out) {
    DEVICE(nvmlDeviceGetTotalEnergyConsumption, d);
    *out = (unsigned long long)(counter(gpu, POWER) * 1000);
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(struct device *d, int *major, int *minor) {
    DEVICE(nvmlDeviceGetCudaComputeCapability, d);
    *major = 9;
    *minor = 0;
    return SUCCESS;
}
int nvmlDeviceGetRemappedRows(struct device *d, unsigned *corr, unsigned *unc, unsigned *pending, unsigned *failed) {
    DEVICE(nvmlDeviceGetRemappedRows, d);
    *corr = *unc = *pending = *failed = 0;
    return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(struct device *d, unsigned kind, unsigned counter_kind, unsigned long long *out) {
    (void)kind; (void)counter_kind;
    DEVICE(nvmlDeviceGetTotalEccErrors, d);
    *out = 0;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(struct device *d, unsigned *current, unsigned *pending) {
    DEVICE(nvmlDeviceGetMigMode, d);
    *current = *pending = has_mig(gpu);
    return SUCCESS;
}
UNSIGNED(nvmlDeviceGetMaxMigDeviceCount, 7)
UNSIGNED(nvmlDeviceGetComputeInstanceId, 0)
UNSIGNED(nvmlDeviceGetNumGpuCores, 132 * 128)
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *d, unsigned index, struct device **out) {
    DEVICE(nvmlDeviceGetMigDeviceHandleByIndex, d);
    for (int i = 0; i < script.instance_count; i++) {
        if (script.instance[i].gpu != gpu || index--) continue;
        *out = &parts[gpu][script.instance[i].id];
        return SUCCESS;
    }
    return NOT_FOUND;
}
int nvmlDeviceGetGpuInstanceId(struct device *d, unsigned *out) {
    DEVICE(nvmlDeviceGetGpuInstanceId, d);
    if (!instance_of(d)) return NOT_FOUND;
    *out = instance_of(d)->id;
    return SUCCESS;
}
struct attributes { unsigned multiprocessors, engines[5], gpu_slices, compute_slices; unsigned long long megabytes; };
int nvmlDeviceGetAttributes_v2(struct device *d, struct attributes *out) {
    DEVICE(nvmlDeviceGetAttributes_v2, d);
    if (!instance_of(d)) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    out->multiprocessors = instance_of(d)->multiprocessors;
    out->megabytes = instance_of(d)->megabytes;
    return SUCCESS;
}
static int idle_engine(unsigned *utilization, unsigned *period_us) { *utilization = 0; *period_us = 167000; return 0; }
int nvmlDeviceGetEncoderUtilization(struct device *d, unsigned *out, unsigned *us) {
    DEVICE(nvmlDeviceGetEncoderUtilization, d);
    return idle_engine(out, us);
}
int nvmlDeviceGetDecoderUtilization(struct device *d, unsigned *out, unsigned *us) {
    DEVICE(nvmlDeviceGetDecoderUtilization, d);
    return idle_engine(out, us);
}
#define REFUSED(symbol, code) int symbol(struct device *d) { DEVICE(symbol, d); return code; }
REFUSED(nvmlDeviceGetFanSpeed, NOT_SUPPORTED)
REFUSED(nvmlDeviceGetDriverModel, NOT_SUPPORTED)
REFUSED(nvmlDeviceGetDriverModel_v2, NOT_SUPPORTED)
REFUSED(nvmlDeviceGetProcessUtilization, NOT_FOUND)
REFUSED(nvmlDeviceGetPcieThroughput, NOT_SUPPORTED)

/* -- error reports -------------------------------------------------------------------------- */

struct event { struct device *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };
static int watched[GPUS], told; /* the serial of the last report that was handed out */

int nvmlEventSetCreate(void **set) { ENTER(nvmlEventSetCreate, -1); *set = watched; return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; ENTER(nvmlEventSetFree, -1); return SUCCESS; }
int nvmlDeviceRegisterEvents(struct device *d, unsigned long long types, void *set) {
    DEVICE(nvmlDeviceRegisterEvents, d);
    if (set != watched || types != 0x8) return INVALID_ARGUMENT;
    watched[gpu] = 1;
    return SUCCESS;
}
static int next_report(struct event *out) {
    for (int i = 0; i < script.report_count; i++) {
        int gpu = script.report[i].gpu;
        if (script.report[i].serial <= told || gpu < 0 || !watched[gpu]) continue;
        told = script.report[i].serial;
        *out = (struct event){ &devices[gpu], 0x8, (unsigned long long)script.report[i].code, ~0u, ~0u };
        return 1;
    }
    return 0;
}
int nvmlEventSetWait_v2(void *set, struct event *out, unsigned milliseconds) {
    if (set != watched) return INVALID_ARGUMENT;
    ENTER(nvmlEventSetWait_v2, -1);
    const unsigned pause = 250; /* ms from look to look at the script: a driver wakes nobody meanwhile */
    for (unsigned waited = 0; waited <= milliseconds; waited += pause) {
        pthread_mutex_lock(&lock);
        refresh();
        int found = next_report(out);
        pthread_mutex_unlock(&lock);
        if (found) return SUCCESS;
        usleep(1000 * pause);
    }
    return TIMED_OUT;
}

/* -- processes ------------------------------------------------------------------------------ */

struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct r535_process { struct process usual; unsigned long long protected_bytes; };
static int processes(int gpu, unsigned *count_, struct process *out) {
    unsigned found = 0;
    struct r535_process *odd = present(gpu, R535_PROCESSES) > 0 ? (struct r535_process *)out : NULL;
    for (int i = 0; i < script.process_count; i++) {
        if (script.process[i].gpu >= 0 && script.process[i].gpu != gpu) continue;
        struct process one = { script.process[i].pid, script.process[i].bytes, script.process[i].instance, ~0u };
        if (odd && found < *count_) odd[found] = (struct r535_process){ one, 0 };
        else if (out && found < *count_) out[found] = one;
        found++;
    }
    int room = out && found <= *count_;
    *count_ = found;
    return room || !found ? SUCCESS : INSUFFICIENT_SIZE;
}
int nvmlDeviceGetComputeRunningProcesses_v3(struct device *d, unsigned *n, struct process *out) {
    DEVICE(nvmlDeviceGetComputeRunningProcesses_v3, d);
    return processes(gpu, n, out);
}
int nvmlDeviceGetComputeRunningProcesses_v2(struct device *d, unsigned *n, struct process *out) {
    DEVICE(nvmlDeviceGetComputeRunningProcesses_v2, d);
    return processes(gpu, n, out);
}
REFUSED(nvmlDeviceGetRunningProcessDetailList, NOT_SUPPORTED)
REFUSED(nvmlDeviceGetConfComputeMemSizeInfo, NOT_SUPPORTED)
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *d, unsigned *n, struct process *out) {
    (void)out;
    DEVICE(nvmlDeviceGetGraphicsRunningProcesses_v3, d);
    *n = 0;
    return SUCCESS;
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(struct device *d, unsigned *n, struct process *out) {
    (void)out;
    DEVICE(nvmlDeviceGetMPSComputeRunningProcesses_v3, d);
    *n = 0;
    return SUCCESS;
}

/* -- field values --------------------------------------------------------------------------- */

enum { DOUBLE = 0, UINT = 1, ULONGLONG = 3, INT = 5 };
struct field_value {
    uint32_t id, scope;
    int64_t timestamp, latency;
    uint32_t type, code;
    union { double d; uint32_t u; uint64_t ull; int32_t i; } value;
};

static void whole(struct field_value *out, double value) {
    out->type = ULONGLONG;
    out->value.ull = (uint64_t)llround(value);
}

/* pcie_wraps: it goes round at 2^32; pcie_narrow: and comes as a number of 32 bits */
static void pcie(int gpu, struct field_value *out, double bytes) {
    whole(out, bytes);
    if (present(gpu, PCIE_WRAPS) > 0 || present(gpu, PCIE_NARROW) > 0) out->value.ull &= 0xFFFFFFFF;
    if (present(gpu, PCIE_NARROW) > 0) out->type = UINT;
}

static uint32_t one_field(int gpu, struct field_value *out) {
    for (int i = 0; i < script.rule_count; i++)
        if (script.rule[i].kind == FIELD && script.rule[i].id == (int)out->id
            && (script.rule[i].gpu < 0 || script.rule[i].gpu == gpu)) return (uint32_t)script.rule[i].number;
    switch (out->id) {
    case 74: whole(out, counter(gpu, CAP) * 1e9); return SUCCESS;
    case 269: whole(out, counter(gpu, SW_THERMAL) * 1e9); return SUCCESS;
    case 270: whole(out, counter(gpu, HW_THERMAL) * 1e9); return SUCCESS;
    case 271: whole(out, counter(gpu, BRAKE) * 1e9); return SUCCESS;
    case 3: whole(out, present(gpu, ECC_CORRECTED)); return SUCCESS;
    case 4: whole(out, present(gpu, ECC_UNCORRECTED)); return SUCCESS;
    case 142: out->type = UINT; out->value.u = (uint32_t)present(gpu, REMAPPED_CORRECTED); return SUCCESS;
    case 143: out->type = UINT; out->value.u = (uint32_t)present(gpu, REMAPPED_UNCORRECTED); return SUCCESS;
    case 144: out->type = UINT; out->value.u = (uint32_t)present(gpu, REMAP_PENDING); return SUCCESS;
    case 145: out->type = UINT; out->value.u = (uint32_t)present(gpu, REMAP_FAILED); return SUCCESS;
    case 230: out->type = UINT; out->value.u = (uint32_t)present(gpu, RECOVERY); return SUCCESS;
    case 82: out->type = UINT; out->value.u = (uint32_t)present(gpu, MEMORY_CELSIUS); return SUCCESS;
    case 83: whole(out, counter(gpu, POWER) * 1e3); return SUCCESS;
    case 138: if (out->scope != ~0u) return INVALID_ARGUMENT; whole(out, counter(gpu, NVLINK_TX) * 1024); return SUCCESS;
    case 139: if (out->scope != ~0u) return INVALID_ARGUMENT; whole(out, counter(gpu, NVLINK_RX) * 1024); return SUCCESS;
    case 186: out->type = UINT; out->value.u = milliwatts(gpu); return SUCCESS;
    case 194: out->type = INT; out->value.i = (int)present(gpu, SLOWDOWN_MARGIN); return SUCCESS;
    case 197: pcie(gpu, out, counter(gpu, PCIE_TX) * 1048576); return SUCCESS;
    case 198: pcie(gpu, out, counter(gpu, PCIE_RX) * 1048576); return SUCCESS;
    default: return NOT_SUPPORTED;
    }
}

int nvmlDeviceGetFieldValues(struct device *d, int n, struct field_value *values) {
    DEVICE(nvmlDeviceGetFieldValues, d);
    int answered = 0;
    for (int i = 0; i < n; i++) answered += !(values[i].code = one_field(gpu, &values[i]));
    values[n].value.ull = 0xDEADBEEF; /* the real library has been seen to write one entry too far */
    return answered ? SUCCESS : NOT_SUPPORTED;
}

/* -- GPM ------------------------------------------------------------------------------------ */

struct sample { int gpu; double time, sum[STAGE_KEYS]; };
struct support { unsigned version, supported; };
struct metric { unsigned id; uint32_t code; double value; char *short_name, *long_name, *unit; };
struct metrics { unsigned version, count; struct sample *first, *second; struct metric metric[]; };

int nvmlGpmQueryDeviceSupport(struct device *d, struct support *out) {
    DEVICE(nvmlGpmQueryDeviceSupport, d);
    if (out->version != 1) return ARGUMENT_VERSION_MISMATCH;
    out->supported = (unsigned)present(gpu, GPM_SUPPORT);
    return SUCCESS;
}
int nvmlGpmSampleAlloc(struct sample **out) {
    ENTER(nvmlGpmSampleAlloc, -1);
    *out = calloc(1, sizeof **out);
    return SUCCESS;
}
int nvmlGpmSampleFree(struct sample *sample) { ENTER(nvmlGpmSampleFree, -1); free(sample); return SUCCESS; }

static int take(int gpu, struct sample *out, double later) {
    if (!present(gpu, GPM_SUPPORT)) return NOT_SUPPORTED;
    out->gpu = gpu;
    out->time = now_seconds() + later;
    for (int k = 0; k < STAGE_KEYS; k++) out->sum[k] = integral(gpu, k, out->time);
    return SUCCESS;
}
int nvmlGpmSampleGet(struct device *d, struct sample *out) { DEVICE(nvmlGpmSampleGet, d); return take(gpu, out, 0); }
int nvmlGpmMigSampleGet(struct device *d, unsigned instance, struct sample *out) {
    DEVICE(nvmlGpmMigSampleGet, d);
    if (d->instance >= 0 || instance >= INSTANCES || !instance_of(&parts[gpu][instance])) return INVALID_ARGUMENT;
    return take(gpu, out, instance);
}

static uint32_t one_metric(const struct metrics *request, struct metric *out) {
    static const struct { unsigned id; enum stage_key key; double factor; } known[] = {
        { 1, KERNEL, 100 }, { 2, SM, 100 }, { 3, OCCUPANCY, 100 }, { 5, TENSOR, 100 }, { 10, DRAM, 100 },
        { 20, PCIE_TX, 1 }, { 21, PCIE_RX, 1 }, { 60, NVLINK_RX, 1 }, { 61, NVLINK_TX, 1 },
    };
    const struct sample *a = request->first, *b = request->second;
    double span = b->time - a->time;
    for (int i = 0; i < script.rule_count; i++) {
        const struct rule *rule = &script.rule[i];
        if (rule->id != (int)out->id || (rule->gpu >= 0 && rule->gpu != b->gpu)) continue;
        if (rule->kind == REFUSE) return (uint32_t)rule->number;
        if (rule->kind == METRIC) { out->value = rule->number; return SUCCESS; }
    }
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].id != out->id) continue;
        /* sampled too fast, ratios are no number and rates are 0, as on the hardware */
        if (span < 0.1) out->value = known[i].factor == 100 ? NAN : 0;
        else out->value = fmax(0, (b->sum[known[i].key] - a->sum[known[i].key]) / span) * known[i].factor;
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

static int is_left(int gpu, unsigned id) {
    for (int i = 0; i < script.rule_count; i++) {
        const struct rule *rule = &script.rule[i];
        if (rule->kind == LEAVE && rule->id == (int)id && (rule->gpu < 0 || rule->gpu == gpu)) return 1;
    }
    return 0;
}

int nvmlGpmMetricsGet(struct metrics *request) {
    if (!request->second) { count(I_nvmlGpmMetricsGet); return INVALID_ARGUMENT; }
    ENTER(nvmlGpmMetricsGet, request->second->gpu);
    if (request->version != 1) return ARGUMENT_VERSION_MISMATCH;
    for (unsigned i = 0; i < request->count; i++)
        if (!is_left(request->second->gpu, request->metric[i].id))
            request->metric[i].code = one_metric(request, &request->metric[i]);
    return SUCCESS;
}

/* -- what must never be called -------------------------------------------------------------- */

#define TRAP(symbol) int symbol(void) { count(I_##symbol); return NOT_SUPPORTED; }
TRAPS(TRAP)

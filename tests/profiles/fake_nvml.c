/* A libnvidia-ml.so.1 that says what a script tells it to, for driving the real pynvml without a GPU.
 *
 * The script is the file named by FAKE_NVML_SCRIPT, lines of "<who> <key> <value>", read at nvmlInit:
 *   - gpus N               how many GPUs there are (1)
 *   - init CODE            what nvmlInit returns (0)
 *   - driver TEXT
 *   - cuda N               the newest CUDA the driver supports (13000 is 13.0)
 *   i|* KEY VALUE          of GPU i or of all of them; the keys are the members of `struct gpu` below
 *   i|* error:CALL CODE    CALL returns CODE: name, uuid, handle, util, memory, memory_v2, clock,
 *                          temp, temp_v, power, limit, fields, gpm, gpm_get, or field:ID for one field
 * Times in the script are in seconds since nvmlInit. Structures and versions are those of nvml.h; a
 * caller that passes another version gets NVML_ERROR_ARGUMENT_VERSION_MISMATCH, as from the driver.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))
enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15,
    VERSION_MISMATCH = 25
};
enum { VALUE_UINT = 1, VALUE_ULL = 3 };
#define MAX_GPUS 16
#define MAX_ERRORS 32

typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned version; int sensor; int temperature; } temperature_t;
typedef union {
    double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si;
    unsigned short us;
} value_t;
typedef struct {
    unsigned field, scope; long long timestamp_us, latency_us; int type, code; value_t value;
} field_t;
typedef struct {
    unsigned metric; int code; double value; struct { char *name, *longname, *unit; } info;
} gpm_metric_t;
typedef struct { double t_s; struct gpu *gpu; } gpm_look_t;
typedef struct { unsigned version, count; gpm_look_t *look1, *look2; gpm_metric_t metrics[1]; } gpm_t;
typedef struct { unsigned version, supported; } gpm_support_t;
#define MEMORY_V2 (sizeof(memory_v2_t) | 2u << 24)
#define TEMPERATURE_V1 (sizeof(temperature_t) | 1u << 24)

struct gpu {
    char name[96], uuid[96], mig_uuid[96];
    double util, mem_total, mem_used, sm_mhz, temp_c, power_mw, limit_mw;
    double energy_mj;      /* at nvmlInit; it then grows by power_mw */
    double energy_stands;  /* 1: it does not grow */
    double throttle_power_ns, throttle_thermal_ns, throttle_hw_ns, throttle_brake_ns;
    double pcie_tx, pcie_rx;
    double gpm, gpm_sm, gpm_tensor, gpm_dram; /* gpm 1: supported */
    double lost_after_s, back_after_s;        /* -1: never */
    double slow_s;                            /* what the field values call takes */
    struct { char call[24]; int code; } errors[MAX_ERRORS];
    int error_count, calls;
};
static struct gpu gpus[MAX_GPUS], mig[MAX_GPUS]; /* mig[i]: the MIG instance of gpus[i] */
static int gpu_count, init_code, cuda_version;
static char driver[80];
static double zero_s;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void set(struct gpu *g, const char *key, const char *value) {
#define NUMBER(member) if (!strcmp(key, #member)) { g->member = atof(value); return; }
#define TEXT(member) if (!strcmp(key, #member)) { snprintf(g->member, sizeof g->member, "%s", value); return; }
    TEXT(name) TEXT(uuid) TEXT(mig_uuid)
    NUMBER(util) NUMBER(mem_total) NUMBER(mem_used) NUMBER(sm_mhz) NUMBER(temp_c)
    NUMBER(power_mw) NUMBER(limit_mw) NUMBER(energy_mj) NUMBER(energy_stands)
    NUMBER(throttle_power_ns) NUMBER(throttle_thermal_ns) NUMBER(throttle_hw_ns)
    NUMBER(throttle_brake_ns) NUMBER(pcie_tx) NUMBER(pcie_rx)
    NUMBER(gpm) NUMBER(gpm_sm) NUMBER(gpm_tensor) NUMBER(gpm_dram)
    NUMBER(lost_after_s) NUMBER(back_after_s) NUMBER(slow_s)
    if (!strncmp(key, "error:", 6) && g->error_count < MAX_ERRORS) {
        snprintf(g->errors[g->error_count].call, sizeof g->errors[0].call, "%s", key + 6);
        g->errors[g->error_count++].code = atoi(value);
        return;
    }
    fprintf(stderr, "fake_nvml: no key %s\n", key);
    abort();
}

static void read_script(void) {
    gpu_count = 1;
    init_code = SUCCESS;
    cuda_version = 13000;
    strcpy(driver, "580.00.fake");
    for (int i = 0; i < MAX_GPUS; i++) {
        memset(&gpus[i], 0, sizeof gpus[i]);
        struct gpu *g = &gpus[i];
        strcpy(g->name, "NVIDIA FAKE");
        snprintf(g->uuid, sizeof g->uuid, "GPU-%08d-0000-0000-0000-000000000000", i);
        g->util = 97; g->mem_total = 150754820096.0; g->mem_used = 1 << 30;
        g->sm_mhz = 1980; g->temp_c = 45; g->power_mw = 350000; g->limit_mw = 700000;
        g->lost_after_s = g->back_after_s = -1;
    }
    const char *path = getenv("FAKE_NVML_SCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    char who[8], key[64], value[128];
    while (file && fscanf(file, "%7s %63s %127[^\n]", who, key, value) == 3) {
        if (!strcmp(who, "-")) {
            if (!strcmp(key, "gpus")) gpu_count = atoi(value);
            else if (!strcmp(key, "init")) init_code = atoi(value);
            else if (!strcmp(key, "cuda")) cuda_version = atoi(value);
            else if (!strcmp(key, "driver")) snprintf(driver, sizeof driver, "%s", value);
            else abort();
            continue;
        }
        for (int i = 0; i < MAX_GPUS; i++)
            if (!strcmp(who, "*") || atoi(who) == i) set(&gpus[i], key, value);
    }
    if (file) fclose(file);
    for (int i = 0; i < MAX_GPUS; i++) {
        mig[i] = gpus[i];
        strcpy(mig[i].uuid, gpus[i].mig_uuid);
        strcat(mig[i].name, " MIG 1g");
        mig[i].mem_total /= 8;
    }
}

/* What `call` returns for this GPU now. */
static int code_of(struct gpu *g, const char *call) {
    double t_s = now_s() - zero_s;
    if (g->lost_after_s >= 0 && t_s >= g->lost_after_s && (g->back_after_s < 0 || t_s < g->back_after_s))
        return GPU_IS_LOST;
    for (int i = 0; i < g->error_count; i++)
        if (!strcmp(g->errors[i].call, call)) return g->errors[i].code;
    return SUCCESS;
}
#define CHECK(g, call) { int code = code_of(g, call); if (code) return code; }

API int nvmlInitWithFlags(unsigned flags) { (void)flags; zero_s = now_s(); read_script(); return init_code; }
API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlShutdown(void) { return SUCCESS; }
API const char *nvmlErrorString(int code) { (void)code; return "Fake Error"; }
API int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "%s", driver); return SUCCESS; }
API int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda_version; return SUCCESS; }
API int nvmlDeviceGetCount_v2(unsigned *count) { *count = gpu_count; return SUCCESS; }
API int nvmlDeviceGetHandleByIndex_v2(unsigned i, struct gpu **handle) {
    if ((int)i >= gpu_count) return INVALID_ARGUMENT;
    CHECK(&gpus[i], "handle")
    *handle = &gpus[i];
    return SUCCESS;
}
API int nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **handle) {
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *g = !strcmp(uuid, gpus[i].uuid) ? &gpus[i] : !strcmp(uuid, mig[i].uuid) ? &mig[i] : NULL;
        if (!g || !*uuid) continue;
        CHECK(g, "handle")
        *handle = g;
        return SUCCESS;
    }
    return NOT_FOUND;
}
API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct gpu *g, struct gpu **parent) {
    if (g < mig || g >= mig + MAX_GPUS) return INVALID_ARGUMENT;
    *parent = &gpus[g - mig];
    return SUCCESS;
}
API int nvmlDeviceGetIndex(struct gpu *g, unsigned *index) { *index = (unsigned)(g - gpus); return SUCCESS; }
API int nvmlDeviceGetName(struct gpu *g, char *text, unsigned size) {
    CHECK(g, "name")
    snprintf(text, size, "%s", g->name);
    return SUCCESS;
}
API int nvmlDeviceGetUUID(struct gpu *g, char *text, unsigned size) {
    CHECK(g, "uuid")
    snprintf(text, size, "%s", g->uuid);
    return SUCCESS;
}
API int nvmlDeviceGetEnforcedPowerLimit(struct gpu *g, unsigned *mw) { CHECK(g, "limit") *mw = g->limit_mw; return SUCCESS; }
API int nvmlDeviceGetPowerUsage(struct gpu *g, unsigned *mw) { CHECK(g, "power") *mw = g->power_mw; return SUCCESS; }
API int nvmlDeviceGetUtilizationRates(struct gpu *g, utilization_t *u) {
    CHECK(g, "util")
    u->gpu = g->util;
    u->memory = 41;
    return SUCCESS;
}
API int nvmlDeviceGetMemoryInfo(struct gpu *g, memory_t *m) {
    CHECK(g, "memory")
    m->total = g->mem_total;
    m->used = g->mem_used;
    m->free = m->total - m->used;
    return SUCCESS;
}
API int nvmlDeviceGetMemoryInfo_v2(struct gpu *g, memory_v2_t *m) {
    if (m->version != MEMORY_V2) return VERSION_MISMATCH;
    CHECK(g, "memory_v2")
    m->total = g->mem_total;
    m->used = g->mem_used;
    m->reserved = 12345;
    m->free = m->total - m->used - m->reserved;
    return SUCCESS;
}
API int nvmlDeviceGetClockInfo(struct gpu *g, int clock, unsigned *mhz) {
    CHECK(g, "clock")
    *mhz = clock == 1 ? g->sm_mhz : 1; /* NVML_CLOCK_SM */
    return SUCCESS;
}
API int nvmlDeviceGetTemperature(struct gpu *g, int sensor, unsigned *c) { (void)sensor; CHECK(g, "temp") *c = g->temp_c; return SUCCESS; }
API int nvmlDeviceGetTemperatureV(struct gpu *g, temperature_t *t) {
    if (t->version != TEMPERATURE_V1) return VERSION_MISMATCH;
    CHECK(g, "temp_v")
    t->temperature = g->temp_c;
    return SUCCESS;
}

API int nvmlDeviceGetFieldValues(struct gpu *g, int count, field_t *fields) {
    CHECK(g, "fields")
    g->calls++;
    struct timespec nap = {(time_t)g->slow_s, (long)(1e9 * (g->slow_s - (time_t)g->slow_s))};
    nanosleep(&nap, NULL);
    for (int i = 0; i < count; i++) {
        field_t *f = &fields[i];
        char call[24];
        snprintf(call, sizeof call, "field:%u", f->field);
        f->timestamp_us = (long long)(now_s() * 1e6);
        f->type = VALUE_ULL;
        f->code = code_of(g, call);
        if (f->code) continue;
        double grown_mj = g->energy_stands ? 0 : g->power_mw * (now_s() - zero_s);
        switch (f->field) {
        case 83: f->value.ull = g->energy_mj + grown_mj; break;
        case 185: case 186:
            f->type = VALUE_UINT;
            memset(&f->value, 0xff, sizeof f->value); /* only four bytes of the union count */
            f->value.ui = g->power_mw;
            break;
        case 74: f->value.ull = g->throttle_power_ns; break;
        case 269: f->value.ull = g->throttle_thermal_ns; break;
        case 270: f->value.ull = g->throttle_hw_ns; break;
        case 271: f->value.ull = g->throttle_brake_ns; break;
        case 197: f->value.ull = g->pcie_tx; break;
        case 198: f->value.ull = g->pcie_rx; break;
        default: f->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

API int nvmlGpmQueryDeviceSupport(struct gpu *g, gpm_support_t *s) {
    CHECK(g, "gpm")
    if (s->version != 1) return VERSION_MISMATCH;
    s->supported = g->gpm != 0;
    return SUCCESS;
}
API int nvmlGpmSampleAlloc(gpm_look_t **look) { *look = calloc(1, sizeof **look); return SUCCESS; }
API int nvmlGpmSampleFree(gpm_look_t *look) { free(look); return SUCCESS; }
API int nvmlGpmSampleGet(struct gpu *g, gpm_look_t *look) {
    CHECK(g, "gpm_get")
    look->t_s = now_s();
    look->gpu = g;
    return SUCCESS;
}
/* No averages between looks that are not in order. */
API int nvmlGpmMetricsGet(gpm_t *q) {
    if (q->version != 1) return VERSION_MISMATCH;
    if (q->look1->gpu != q->look2->gpu || q->look2->t_s <= q->look1->t_s) return INVALID_ARGUMENT;
    struct gpu *g = q->look1->gpu;
    for (unsigned i = 0; i < q->count; i++) {
        gpm_metric_t *m = &q->metrics[i];
        m->code = SUCCESS;
        switch (m->metric) {
        case 2: m->value = g->gpm_sm; break;
        case 5: m->value = g->gpm_tensor; break;
        case 10: m->value = g->gpm_dram; break;
        default: m->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

/* For the tests: how often GPU i's field values were asked for, and how large structures are here. */
API int fake_field_calls(int i) { return gpus[i].calls; }
API size_t fake_size(const char *name) {
#define SIZE(type) if (!strcmp(name, #type)) return sizeof(type);
    SIZE(utilization_t) SIZE(memory_t) SIZE(memory_v2_t) SIZE(temperature_t) SIZE(value_t)
    SIZE(field_t) SIZE(gpm_metric_t) SIZE(gpm_support_t)
    if (!strcmp(name, "gpm_t.metrics")) return offsetof(gpm_t, metrics);
    return 0;
}

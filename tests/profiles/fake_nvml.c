/* A libnvidia-ml.so.1 that says what a script tells it to, for driving the real pynvml without a GPU.
 *
 * The script's language is described in fake_nvml.h. Structures and versions are those of nvml.h; a
 * caller that passes another version gets NVML_ERROR_ARGUMENT_VERSION_MISMATCH, as from the driver.
 */
#include <stddef.h>

#include "fake_nvml.h"

#define API __attribute__((visibility("default")))
enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25
};
enum { VALUE_UINT = 1, VALUE_ULL = 3 };
enum { XID_EVENT = 8, CLOCK_SM = 1 };

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
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { struct gpu *gpu; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;
#define MEMORY_V2 (sizeof(memory_v2_t) | 2u << 24)
#define TEMPERATURE_V1 (sizeof(temperature_t) | 1u << 24)


/* What `call` returns for this GPU now. */
static int code_of(struct gpu *g, const char *call) {
    double t_s = now_s();
    int code = SUCCESS;
    age(g);
    if (g->lost_after_s >= 0 && t_s >= g->lost_after_s && (g->back_after_s < 0 || t_s < g->back_after_s))
        return GPU_IS_LOST;
    for (int i = 0; i < g->error_count; i++)
        if (!strcmp(g->errors[i].call, call)) {
            nap(g->errors[i].s);
            code = g->errors[i].s > 0 ? code : g->errors[i].code; /* the last word counts */
        }
    return code;
}
#define CHECK(g, call) { int code = code_of(g, call); if (code) return code; }

API int nvmlInitWithFlags(unsigned flags) { (void)flags; read_script(); return init_code; }
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
        struct gpu *g = !strcmp(uuid, gpus[i].uuid) ? &gpus[i] : NULL;
        for (int j = 0; j < gpus[i].mig_count; j++)
            if (!strcmp(uuid, mig[i][j].uuid)) g = &mig[i][j];
        if (!g) continue;
        CHECK(g, "handle")
        *handle = g;
        return SUCCESS;
    }
    return NOT_FOUND;
}
API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct gpu *g, struct gpu **parent) {
    if (!g->parent) return INVALID_ARGUMENT;
    *parent = g->parent;
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
API int nvmlDeviceGetPowerUsage(struct gpu *g, unsigned *mw) { CHECK(g, "power") *mw = power_at(g, now_s()); return SUCCESS; }
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
    *mhz = clock == CLOCK_SM ? g->sm_mhz : g->mem_mhz;
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
    nap(g->slow_s);
    for (int i = 0; i < count; i++) {
        field_t *f = &fields[i];
        char call[24];
        snprintf(call, sizeof call, "field:%u", f->field);
        double t_s = now_s();
        f->timestamp_us = (long long)(monotonic_s() * 1e6);
        f->type = VALUE_ULL;
        f->code = code_of(g, call);
        if (f->code) continue;
        switch (f->field) {
        case 83: f->value.ull = counter_at(g, t_s); break;
        case 185: case 186: case 82:
            f->type = VALUE_UINT;
            memset(&f->value, 0xff, sizeof f->value); /* only four bytes of the union count */
            f->value.ui = f->field == 82    ? g->mem_temp_c
                        : f->field == 186   ? power_at(g, t_s)
                        : t_s > 0           ? mean_power(g, t_s > 1 ? t_s - 1 : 0, t_s)
                                            : power_at(g, t_s);
            break;
        case 3: f->value.ull = g->ecc_corrected; break;
        case 4: f->value.ull = g->ecc_uncorrected; break;
        case 142: f->value.ull = g->rows_corrected; break;
        case 143: f->value.ull = g->rows_uncorrected; break;
        case 144: f->value.ull = g->rows_pending; break;
        case 145: f->value.ull = g->rows_failed; break;
        case 74: f->value.ull = g->throttle_power_ns + 1e9 * g->throttle_power_share * t_s; break;
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
API int nvmlGpmMigSampleGet(struct gpu *g, unsigned instance, gpm_look_t *look) {
    for (int j = 0; j < g->mig_count; j++)
        if (mig[g - gpus][j].instance == instance) return nvmlGpmSampleGet(&mig[g - gpus][j], look);
    return INVALID_ARGUMENT;
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
        case 3: m->value = g->gpm_occupancy; break;
        case 5:
            m->value = g->gpm_tensor;
            if (g->gpm_follows_power)
                m->value = 100 * mean_power(g, q->look1->t_s, q->look2->t_s) / g->limit_mw;
            break;
        case 10: m->value = g->gpm_dram; break;
        default: m->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

/* -- processes, MIG, events -------------------------------------------------------------------- */

API int nvmlDeviceGetComputeRunningProcesses_v3(struct gpu *g, unsigned *count, process_t *told) {
    CHECK(g, "processes")
    unsigned there = (unsigned)g->process_count, room = *count;
    *count = there;
    if (!there) return SUCCESS;
    if (room < there || !told) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < there; i++)
        told[i] = (process_t){g->processes[i].pid, g->processes[i].bytes, ~0u, ~0u};
    return SUCCESS;
}
API int nvmlDeviceGetMigMode(struct gpu *g, unsigned *now, unsigned *pending) {
    CHECK(g, "mig")
    *now = *pending = g->mig_count > 0;
    return SUCCESS;
}
API int nvmlDeviceGetMaxMigDeviceCount(struct gpu *g, unsigned *count) {
    (void)g;
    *count = MAX_MIG;
    return SUCCESS;
}
API int nvmlDeviceGetMigDeviceHandleByIndex(struct gpu *g, unsigned i, struct gpu **handle) {
    if ((int)i >= g->mig_count) return NOT_FOUND;
    *handle = &mig[g - gpus][i];
    return SUCCESS;
}
API int nvmlDeviceGetGpuInstanceId(struct gpu *g, unsigned *id) { *id = g->instance; return SUCCESS; }
API int nvmlEventSetCreate(struct gpu ***set) { *set = calloc(MAX_GPUS + 1, sizeof **set); return SUCCESS; }
API int nvmlEventSetFree(struct gpu **set) { free(set); return SUCCESS; }
API int nvmlDeviceRegisterEvents(struct gpu *g, unsigned long long types, struct gpu **set) {
    CHECK(g, "events")
    if (types & ~(unsigned long long)XID_EVENT) return NOT_SUPPORTED;
    while (*set && *set != g) set++;
    *set = g;
    return SUCCESS;
}
/* The earliest XID of the set's GPUs that was not told yet, or none within the time. */
API int nvmlEventSetWait_v2(struct gpu **set, event_t *event, unsigned timeout_ms) {
    double until_s = now_s() + 1e-3 * timeout_ms;
    struct gpu *whose = NULL;
    int which = 0;
    for (; *set; set++)
        for (int i = 0; i < (*set)->xid_count; i++)
            if (!(*set)->xids[i].told && (!whose || (*set)->xids[i].t_s < whose->xids[which].t_s))
                whose = *set, which = i;
    if (!whose || whose->xids[which].t_s > until_s) {
        nap(until_s - now_s());
        return TIMEOUT;
    }
    nap(whose->xids[which].t_s - now_s());
    whose->xids[which].told = 1;
    *event = (event_t){whose, XID_EVENT, whose->xids[which].code, ~0u, ~0u};
    return SUCCESS;
}

/* For the tests: how often GPU i's field values were asked for, and how large structures are here. */
API int fake_field_calls(int i) { return gpus[i].calls; }
API size_t fake_size(const char *name) {
#define SIZE(type) if (!strcmp(name, #type)) return sizeof(type);
    SIZE(utilization_t) SIZE(memory_t) SIZE(memory_v2_t) SIZE(temperature_t) SIZE(value_t)
    SIZE(field_t) SIZE(gpm_metric_t) SIZE(gpm_support_t) SIZE(process_t) SIZE(event_t)
    if (!strcmp(name, "gpm_t.metrics")) return offsetof(gpm_t, metrics);
    return 0;
}

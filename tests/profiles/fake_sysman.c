/* A libze_loader.so.1 that says what a script tells it to, for driving the real pyzes without a GPU.
 *
 * Keys beside those of fake_script.h, and what is said without them:
 *   - gpus N (1)              - init CODE (0): what zesInit returns        - cpus N (0): devices that are none
 *   name, uuid (32 hex digits), driver
 *   power_w (300): what energy grows by, from energy_uj (0); domains: "card" | "package" | "tiles"
 *   busy_pct (80), engines: "all" | "compute" | "none"
 *   mem_total, mem_used (bytes), read_bps, write_bps (1e11, 5e10), max_bps (5e11)
 *   gpu_mhz (2400), mem_mhz (-1: none), gpu_c (58), global_c (62), mem_c (-1)
 *   pcie (1), rx_bps, tx_bps (1e9, 2e9), limit_mw (300000)
 * "tiles" are two of half the power each. Structures are those of zes_api.h, 1.20.
 */
#include <stddef.h>
#include <stdint.h>

#include "fake_script.h"

enum { SUCCESS = 0, LOST = 0x70000001, UNSUPPORTED = 0x78000003, INVALID = 0x78000004 };
enum { POWER = 1, MEMORY, CLOCK, SENSOR, ENGINE };

typedef struct { uint8_t id[16]; } uuid_t;
typedef struct {
    int32_t stype; void *next; int32_t type; uint32_t vendor, device, flags, subdevice, clock;
    uint64_t max_alloc; uint32_t contexts, priority, threads, width, eus, subslices, slices;
    uint64_t timer; uint32_t timestamp_bits, kernel_bits; uuid_t uuid; char name[256];
} ze_device_properties_t;
typedef struct {
    int32_t stype; void *next; ze_device_properties_t core; uint32_t subdevices;
    char serial[64], board[64], brand[64], model[64], vendor[64], driver[64];
} zes_device_properties_t;
typedef struct { int32_t gen, width; int64_t max; } speed_t;
typedef struct {
    int32_t stype; void *next; uint32_t address[4]; speed_t speed; uint8_t bytes, packets, replays;
} zes_pci_properties_t;
typedef struct { uint64_t timestamp, replays, packets, rx, tx; speed_t speed; } zes_pci_stats_t;
typedef struct {
    int32_t stype; void *next; uint8_t on_subdevice; uint32_t subdevice; uint8_t control, threshold;
    int32_t standard, min, max;
} zes_power_properties_t;
typedef struct {
    int32_t stype; void *next; int32_t level, source, unit; uint8_t state_locked, enabled, interval_locked;
    int32_t interval; uint8_t value_locked; int32_t limit;
} zes_power_limit_ext_desc_t;
typedef struct { int32_t stype; void *next; int32_t domain; zes_power_limit_ext_desc_t *limit; } zes_power_ext_properties_t;
typedef struct { uint64_t energy_uj, timestamp_us; } zes_power_energy_counter_t;
typedef struct {
    int32_t stype; void *next; int32_t type; uint8_t on_subdevice; uint32_t subdevice; int32_t location;
    uint64_t size; int32_t width, channels;
} zes_mem_properties_t;
typedef struct { int32_t stype; void *next; int32_t health; uint64_t free, size; } zes_mem_state_t;
typedef struct { uint64_t read, write, max, timestamp_us; } zes_mem_bandwidth_t;
typedef struct {
    int32_t stype; void *next; int32_t type; uint8_t on_subdevice; uint32_t subdevice; uint8_t control, event;
    double min, max;
} zes_freq_properties_t;
typedef struct {
    int32_t stype; void *next; double volts, request, tdp, efficient, actual; uint32_t reasons;
} zes_freq_state_t;
typedef struct {
    int32_t stype; void *next; int32_t type; uint8_t on_subdevice; uint32_t subdevice; double max;
    uint8_t critical, threshold1, threshold2;
} zes_temp_properties_t;
typedef struct {
    int32_t stype; void *next; uint32_t type; uint8_t on_subdevice; uint32_t subdevice;
} zes_engine_properties_t;
typedef struct { uint64_t active, timestamp; } zes_engine_stats_t;

/* A handle is 256 (GPU + 1) + 16 kind + part; a device's kind and part are 0. */
static int of(void *h) { return (int)((intptr_t)h >> 8) - 1; }
static int part(void *h) { return (int)((intptr_t)h & 15); }
static void *handle(int gpu, int kind, int which) { return (void *)(intptr_t)((gpu + 1) << 8 | kind << 4 | which); }
static int is(int gpu, const char *key, const char *usual, const char *value) { return !strcmp(text(gpu, key, usual), value); }
#define CHECK(call) { int code = code_of(of(h), call, LOST); if (code) return code; }
/* A driver that is asked with another structure than it expects refuses. */
#define TYPE(s, number) if ((s)->stype != (number)) return INVALID;
static uint64_t us(void) { return 1e6 * now_s(); }

static int list(int gpu, int kind, int there, uint32_t *count, void **handles) {
    if (handles) for (int at = 0; at < there && at < (int)*count; at++) handles[at] = handle(gpu, kind, at);
    *count = there;
    return SUCCESS;
}

API int zesInit(uint32_t flags) {
    if (flags) return INVALID;
    read_script("FAKE_SYSMAN_SCRIPT");
    return (int)strtol(text(-1, "init", "0"), NULL, 0);
}
API int zesDriverGet(uint32_t *count, void **drivers) {
    if (drivers) drivers[0] = (void *)1;
    *count = 1;
    return SUCCESS;
}
API int zesDeviceGet(void *driver, uint32_t *count, void **devices) {
    (void)driver;
    uint32_t there = number(-1, "cpus", 0) + number(-1, "gpus", 1);
    for (uint32_t i = 0; devices && i < there && i < *count; i++) devices[i] = handle(i, 0, 0);
    *count = there;
    return SUCCESS;
}
API int zesDeviceGetProperties(void *h, zes_device_properties_t *p) {
    TYPE(p, 0x1) CHECK("properties")
    int is_gpu = of(h) < (int)number(-1, "gpus", 1);
    p->core.type = is_gpu ? 1 : 2;
    char usual[33];
    snprintf(usual, sizeof usual, "868056e20000000000000000000000%02x", of(h));
    for (int at = 0; at < 16; at++) {
        char byte[3] = {text(of(h), "uuid", usual)[2 * at], text(of(h), "uuid", usual)[2 * at + 1], 0};
        p->core.uuid.id[at] = strtol(byte, NULL, 16);
    }
    snprintf(p->core.name, sizeof p->core.name, "%s", text(of(h), "name", "Intel(R) Arc(TM) FAKE"));
    snprintf(p->driver, sizeof p->driver, "%s", text(of(h), "driver", "1.6.fake"));
    return SUCCESS;
}

API int zesDevicePciGetProperties(void *h, zes_pci_properties_t *p) {
    TYPE(p, 0x2) CHECK("pci")
    p->bytes = number(of(h), "pcie", 1);
    return SUCCESS;
}
API int zesDevicePciGetStats(void *h, zes_pci_stats_t *s) {
    CHECK("pci_stats")
    s->rx = number(of(h), "rx_bps", 1e9) * now_s();
    s->tx = number(of(h), "tx_bps", 2e9) * now_s();
    return SUCCESS;
}

/* Two domains of the whole (the package before the card), or one a tile. */
static int tiled(int gpu) { return is(gpu, "domains", "card", "tiles"); }
API int zesDeviceEnumPowerDomains(void *h, uint32_t *count, void **handles) {
    CHECK("power")
    return list(of(h), POWER, is(of(h), "domains", "card", "package") ? 1 : 2, count, handles);
}
API int zesPowerGetProperties(void *h, zes_power_properties_t *p) {
    TYPE(p, 0xD) CHECK("power")
    zes_power_ext_properties_t *ext = p->next;
    p->on_subdevice = tiled(of(h));
    if (!ext) return SUCCESS;
    TYPE(ext, 0x28)
    ext->domain = !tiled(of(h)) && part(h) == 1 ? 1 : 2; /* card, else package */
    return SUCCESS;
}
API int zesPowerGetEnergyCounter(void *h, zes_power_energy_counter_t *c) {
    CHECK("energy")
    double share = tiled(of(h)) ? 0.5 : part(h) == 1 || is(of(h), "domains", "card", "package") ? 1 : 0.9;
    c->timestamp_us = us();
    c->energy_uj = share * (number(of(h), "energy_uj", 0) + number(of(h), "power_w", 300) * c->timestamp_us);
    return SUCCESS;
}
API int zesPowerGetLimitsExt(void *h, uint32_t *count, zes_power_limit_ext_desc_t *limits) {
    CHECK("limit")
    *count = 2;
    if (!limits) return SUCCESS;
    memset(limits, 0, 2 * sizeof *limits);
    limits[0].level = 3; limits[0].unit = 1; limits[0].limit = 30000; limits[0].enabled = 1; /* a peak, in mA */
    limits[1].level = 1; limits[1].unit = 2; limits[1].limit = number(of(h), "limit_mw", 300000); limits[1].enabled = 1;
    return SUCCESS;
}

/* The GPU's own memory in two modules, and the system's, which does not count. */
API int zesDeviceEnumMemoryModules(void *h, uint32_t *count, void **handles) {
    CHECK("memory")
    return list(of(h), MEMORY, 3, count, handles);
}
API int zesMemoryGetProperties(void *h, zes_mem_properties_t *p) {
    TYPE(p, 0xB) CHECK("memory")
    p->location = part(h) < 2;
    p->size = number(of(h), "mem_total", 24e9) / 2;
    return SUCCESS;
}
API int zesMemoryGetState(void *h, zes_mem_state_t *s) {
    TYPE(s, 0x1E) CHECK("memory_state")
    s->size = number(of(h), "mem_total", 24e9) / 2;
    s->free = s->size - number(of(h), "mem_used", 1 << 30) / 2;
    return SUCCESS;
}
API int zesMemoryGetBandwidth(void *h, zes_mem_bandwidth_t *b) {
    CHECK("bandwidth")
    b->timestamp_us = us();
    b->read = number(of(h), "read_bps", 1e11) / 2e6 * b->timestamp_us;
    b->write = number(of(h), "write_bps", 5e10) / 2e6 * b->timestamp_us;
    b->max = number(of(h), "max_bps", 5e11) / 2;
    return SUCCESS;
}

API int zesDeviceEnumFrequencyDomains(void *h, uint32_t *count, void **handles) {
    CHECK("clock")
    return list(of(h), CLOCK, number(of(h), "mem_mhz", -1) < 0 ? 1 : 2, count, handles);
}
API int zesFrequencyGetProperties(void *h, zes_freq_properties_t *p) {
    TYPE(p, 0x9) CHECK("clock")
    p->type = part(h);
    return SUCCESS;
}
API int zesFrequencyGetState(void *h, zes_freq_state_t *s) {
    TYPE(s, 0x1B) CHECK("clock_state")
    s->actual = part(h) ? number(of(h), "mem_mhz", -1) : number(of(h), "gpu_mhz", 2400);
    return SUCCESS;
}

static const char *sensors[] = {"global_c", "gpu_c", "mem_c"};
static const double usual_c[] = {62, 58, -1};
API int zesDeviceEnumTemperatureSensors(void *h, uint32_t *count, void **handles) {
    CHECK("temperature")
    int there = 0;
    for (int at = 0; at < 3; at++) {
        if (number(of(h), sensors[at], usual_c[at]) < 0) continue;
        if (handles && there < (int)*count) handles[there] = handle(of(h), SENSOR, at);
        there++;
    }
    *count = there;
    return SUCCESS;
}
API int zesTemperatureGetProperties(void *h, zes_temp_properties_t *p) {
    TYPE(p, 0x14) CHECK("temperature")
    p->type = part(h);
    return SUCCESS;
}
API int zesTemperatureGetState(void *h, double *celsius) {
    CHECK("temperature_state")
    *celsius = number(of(h), sensors[part(h)], usual_c[part(h)]);
    return SUCCESS;
}

/* A copy engine comes before the group that counts. */
API int zesDeviceEnumEngineGroups(void *h, uint32_t *count, void **handles) {
    CHECK("engine")
    return list(of(h), ENGINE, is(of(h), "engines", "all", "none") ? 1 : 2, count, handles);
}
API int zesEngineGetProperties(void *h, zes_engine_properties_t *p) {
    TYPE(p, 0x5) CHECK("engine")
    p->type = part(h) == 0 ? 8 : is(of(h), "engines", "all", "all") ? 0 : 1;
    return SUCCESS;
}
API int zesEngineGetActivity(void *h, zes_engine_stats_t *s) {
    CHECK("activity")
    s->timestamp = us();
    s->active = part(h) ? number(of(h), "busy_pct", 80) / 100 * s->timestamp : 0;
    return SUCCESS;
}

/* For the tests: how large structures are here. */
API size_t fake_size(const char *name) {
#define SIZE(type) if (!strcmp(name, #type)) return sizeof(type);
    SIZE(ze_device_properties_t) SIZE(zes_device_properties_t) SIZE(zes_pci_properties_t)
    SIZE(zes_pci_stats_t) SIZE(zes_power_properties_t) SIZE(zes_power_limit_ext_desc_t)
    SIZE(zes_power_ext_properties_t) SIZE(zes_power_energy_counter_t) SIZE(zes_mem_properties_t)
    SIZE(zes_mem_state_t) SIZE(zes_mem_bandwidth_t) SIZE(zes_freq_properties_t)
    SIZE(zes_freq_state_t) SIZE(zes_temp_properties_t) SIZE(zes_engine_properties_t)
    SIZE(zes_engine_stats_t)
    return 0;
}

/* The script that a fake libnvidia-ml.so.1 obeys, and what it makes of a GPU at an instant.
 *
 * The file named by FAKE_NVML_SCRIPT is read at nvmlInit; its lines are "<who> <key> <value>":
 *   - gpus N                how many GPUs there are (1)
 *   - init CODE             what nvmlInit returns (0)
 *   - init_fails CODE N     what it returns the next N times after the first
 *   - wait CODE             what nvmlEventSetWait returns (0)
 *   - driver TEXT
 *   - cuda N                the newest CUDA the driver supports (13000 is 13.0)
 *   - zero_s T              the script's zero on CLOCK_MONOTONIC, in seconds (nvmlInit)
 *   i|* KEY VALUE           of GPU i or of all of them; the keys are the members of `struct gpu`, and
 *   i|* power SHAPE         constant MW | square LOW HIGH PERIOD_S | ramp FROM TO PERIOD_S; a square
 *                           is high in the first half of each period, a ramp begins anew at each
 *   i|* error:CALL CODE     CALL returns CODE: name, uuid, handle, util, memory, memory_v2, clock,
 *                           temp, temp_v, power, limit, fields, gpm, gpm_get, events, processes, mig,
 *                           or field:ID for one field
 *   i|* unsupported CALL... error:CALL 3 for each
 *   i|* slow:CALL S         CALL takes S seconds
 *   i|* process PID BYTES   a compute process; may be repeated
 *   i|* mig_uuid UUID       MIG is on, with an instance of that UUID; may be repeated
 *   i|* xid T CODE          an XID event at T; may be repeated
 *   i|* at T KEY VALUE      KEY has that value from T on
 * Times are in seconds since the script's zero. What is written here is the truth the tests compare
 * with: energy is the exact integral of the power.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_GPUS 16
#define MAX_MIG 7
#define MAX_LISTED 40
enum { CONSTANT, SQUARE, RAMP };

struct gpu {
    char name[96], uuid[96];
    double util, mem_total, mem_used, sm_mhz, mem_mhz, temp_c, mem_temp_c, power_mw, limit_mw;
    double energy_mj;         /* the counter at the zero; it then grows by the power's integral */
    double energy_stands;     /* 1: it does not grow */
    double counter_step_s;    /* it moves only at whole multiples of this; 0: always */
    double counter_bits;      /* it wraps at so many; 64 */
    double counter_reset_s;   /* it is 0 at that time; -1: never */
    double counter_frozen_s;  /* it stands from that time on; -1: never */
    double throttle_power_ns, throttle_thermal_ns, throttle_hw_ns, throttle_brake_ns;
    double throttle_power_share; /* of the time since the zero, beside throttle_power_ns */
    double pcie_tx, pcie_rx, ecc_corrected, ecc_uncorrected;
    double rows_corrected, rows_uncorrected, rows_pending, rows_failed;
    double gpm, gpm_sm, gpm_occupancy, gpm_tensor, gpm_dram; /* gpm 1: supported */
    double gpm_follows_power; /* 1: the tensor metric is the mean power, in percent of the limit */
    double lost_after_s, back_after_s; /* -1: never */
    double lost_after_calls, back_after_calls; /* the same, by how often the GPU was asked anything */
    double lost_for_session;  /* 1: back only to a session of NVML that began after it was back */
    double slow_s;            /* what the field values call takes */
    int shape;
    double low_mw, high_mw, period_s;
    struct { char call[24]; int code; double s; } errors[MAX_LISTED]; /* and slow calls */
    struct { unsigned pid; double bytes; } processes[MAX_LISTED];
    struct { double t_s; unsigned code; int told; } xids[MAX_LISTED];
    struct { double t_s; char key[64], value[96]; int done; } later[MAX_LISTED];
    int error_count, process_count, xid_count, later_count, mig_count, calls, asked, asked_before_session;
    struct gpu *parent;       /* of a MIG instance */
    unsigned instance;
};
static struct gpu gpus[MAX_GPUS], mig[MAX_GPUS][MAX_MIG];
static int gpu_count, init_code, init_fails_code, init_fails_times, wait_code, cuda_version;
static char driver[128];
static double zero_s;
static int inits, session; /* how often it was opened and not yet shut; which session this is */
static double session_s;   /* when it began */

static double monotonic_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
static double now_s(void) { return monotonic_s() - zero_s; }
static void nap(double s) {
    struct timespec t = {(time_t)s, (long)(1e9 * (s - (time_t)s))};
    if (s > 0) nanosleep(&t, NULL);
}

/* -- power and energy: closed forms ------------------------------------------------------------ */

static double power_at(const struct gpu *g, double t_s) {
    double into = g->shape == CONSTANT ? 0 : fmod(t_s, g->period_s) / g->period_s;
    if (into < 0) into += 1;
    if (g->shape == SQUARE) return into < 0.5 ? g->high_mw : g->low_mw;
    if (g->shape == RAMP) return g->low_mw + (g->high_mw - g->low_mw) * into;
    return g->power_mw;
}
/* mJ from the zero to t_s */
static double energy_at(const struct gpu *g, double t_s) {
    if (g->shape == CONSTANT) return g->power_mw * t_s;
    double whole = floor(t_s / g->period_s), into_s = t_s - whole * g->period_s;
    double mean_mw = (g->low_mw + g->high_mw) / 2, part;
    if (g->shape == SQUARE) {
        double half_s = g->period_s / 2;
        part = into_s < half_s ? g->high_mw * into_s
                               : g->high_mw * half_s + g->low_mw * (into_s - half_s);
    } else {
        part = g->low_mw * into_s
             + (g->high_mw - g->low_mw) * into_s * into_s / (2 * g->period_s);
    }
    return whole * mean_mw * g->period_s + part;
}
static double mean_power(const struct gpu *g, double from_s, double to_s) {
    return (energy_at(g, to_s) - energy_at(g, from_s)) / (to_s - from_s);
}
static unsigned long long counter_at(const struct gpu *g, double t_s) {
    if (g->counter_frozen_s >= 0 && t_s > g->counter_frozen_s) t_s = g->counter_frozen_s;
    if (g->counter_step_s > 0) t_s = floor(t_s / g->counter_step_s) * g->counter_step_s;
    double mj = g->energy_mj + (g->energy_stands ? 0 : energy_at(g, t_s));
    if (g->counter_reset_s >= 0 && t_s >= g->counter_reset_s)
        mj = energy_at(g, t_s) - energy_at(g, g->counter_reset_s);
    return g->counter_bits < 64 ? (unsigned long long)fmod(mj, exp2(g->counter_bits))
                                : (unsigned long long)mj;
}

/* -- the script -------------------------------------------------------------------------------- */

static void answer(struct gpu *g, const char *call, int code, double s) {
    if (g->error_count >= MAX_LISTED) abort();
    snprintf(g->errors[g->error_count].call, sizeof g->errors[0].call, "%s", call);
    g->errors[g->error_count].s = s;
    g->errors[g->error_count++].code = code;
}
static void set(struct gpu *g, const char *key, const char *value) {
#define NUMBER(member) if (!strcmp(key, #member)) { g->member = atof(value); return; }
#define TEXT(member) if (!strcmp(key, #member)) { snprintf(g->member, sizeof g->member, "%s", value); return; }
    TEXT(name) TEXT(uuid)
    NUMBER(util) NUMBER(mem_total) NUMBER(mem_used) NUMBER(sm_mhz) NUMBER(mem_mhz) NUMBER(temp_c)
    NUMBER(mem_temp_c) NUMBER(power_mw) NUMBER(limit_mw) NUMBER(energy_mj) NUMBER(energy_stands)
    NUMBER(counter_step_s) NUMBER(counter_bits) NUMBER(counter_reset_s) NUMBER(counter_frozen_s)
    NUMBER(throttle_power_ns) NUMBER(throttle_thermal_ns) NUMBER(throttle_hw_ns)
    NUMBER(throttle_brake_ns) NUMBER(throttle_power_share) NUMBER(pcie_tx) NUMBER(pcie_rx)
    NUMBER(ecc_corrected) NUMBER(ecc_uncorrected) NUMBER(rows_corrected) NUMBER(rows_uncorrected)
    NUMBER(rows_pending) NUMBER(rows_failed) NUMBER(gpm) NUMBER(gpm_sm) NUMBER(gpm_occupancy)
    NUMBER(gpm_tensor) NUMBER(gpm_dram) NUMBER(gpm_follows_power)
    NUMBER(lost_after_s) NUMBER(back_after_s) NUMBER(slow_s)
    NUMBER(lost_after_calls) NUMBER(back_after_calls) NUMBER(lost_for_session)
    char copy[128], word[32];
    snprintf(copy, sizeof copy, "%s", value);
    if (!strcmp(key, "power")) {
        int found = sscanf(value, "%31s %lf %lf %lf", word, &g->low_mw, &g->high_mw, &g->period_s);
        g->shape = !strcmp(word, "square") ? SQUARE : !strcmp(word, "ramp") ? RAMP : CONSTANT;
        if (g->shape == CONSTANT) g->power_mw = g->low_mw;
        if (found != (g->shape == CONSTANT ? 2 : 4)) abort();
        return;
    }
    if (!strncmp(key, "error:", 6)) { answer(g, key + 6, atoi(value), 0); return; }
    if (!strncmp(key, "slow:", 5)) { answer(g, key + 5, 0, atof(value)); return; }
    if (!strcmp(key, "unsupported")) {
        for (char *call = strtok(copy, " "); call; call = strtok(NULL, " ")) answer(g, call, 3, 0);
        return;
    }
    if (!strcmp(key, "process") && g->process_count < MAX_LISTED) {
        int at = g->process_count++;
        if (sscanf(value, "%u %lf", &g->processes[at].pid, &g->processes[at].bytes) == 2) return;
    }
    if (!strcmp(key, "xid") && g->xid_count < MAX_LISTED) {
        int at = g->xid_count++;
        if (sscanf(value, "%lf %u", &g->xids[at].t_s, &g->xids[at].code) == 2) return;
    }
    if (!strcmp(key, "mig_uuid") && g->mig_count < MAX_MIG) {
        snprintf(mig[g - gpus][g->mig_count++].uuid, sizeof g->uuid, "%s", value);
        return;
    }
    if (!strcmp(key, "at") && g->later_count < MAX_LISTED) {
        int at = g->later_count++;
        if (sscanf(value, "%lf %63s %95[^\n]", &g->later[at].t_s, g->later[at].key,
                   g->later[at].value) == 3) return;
    }
    fprintf(stderr, "fake_nvml: no %s %s\n", key, value);
    abort();
}
/* What the script says came to pass by now. */
static void age(struct gpu *g) {
    for (int i = 0; i < g->later_count; i++)
        if (!g->later[i].done && now_s() >= g->later[i].t_s) {
            g->later[i].done = 1;
            set(g, g->later[i].key, g->later[i].value);
        }
}
static void read_script(void) {
    gpu_count = 1;
    init_code = 0;
    cuda_version = 13000;
    zero_s = monotonic_s();
    strcpy(driver, "580.00.fake");
    memset(gpus, 0, sizeof gpus);
    memset(mig, 0, sizeof mig);
    for (int i = 0; i < MAX_GPUS; i++) {
        struct gpu *g = &gpus[i];
        strcpy(g->name, "NVIDIA FAKE");
        snprintf(g->uuid, sizeof g->uuid, "GPU-%08d-0000-0000-0000-000000000000", i);
        g->util = 97; g->mem_total = 150754820096.0; g->mem_used = 1 << 30;
        g->sm_mhz = 1980; g->mem_mhz = 3201; g->temp_c = 45; g->mem_temp_c = 52;
        g->power_mw = 350000; g->limit_mw = 700000; g->counter_bits = 64;
        g->counter_reset_s = g->counter_frozen_s = g->lost_after_s = g->back_after_s = -1;
        g->lost_after_calls = g->back_after_calls = -1;
    }
    const char *path = getenv("FAKE_NVML_SCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    char who[8], key[64], value[128];
    while (file && fscanf(file, "%7s %63s %127[^\n]", who, key, value) == 3) {
        if (!strcmp(who, "-")) {
            if (!strcmp(key, "gpus")) gpu_count = atoi(value);
            else if (!strcmp(key, "init")) init_code = atoi(value);
            else if (!strcmp(key, "init_fails")) {
                if (sscanf(value, "%d %d", &init_fails_code, &init_fails_times) != 2) abort();
            }
            else if (!strcmp(key, "wait")) wait_code = atoi(value);
            else if (!strcmp(key, "cuda")) cuda_version = atoi(value);
            else if (!strcmp(key, "zero_s")) zero_s = atof(value);
            else if (!strcmp(key, "driver")) snprintf(driver, sizeof driver, "%s", value);
            else abort();
            continue;
        }
        for (int i = 0; i < MAX_GPUS; i++)
            if (!strcmp(who, "*") || atoi(who) == i) set(&gpus[i], key, value);
    }
    if (file) fclose(file);
    for (int i = 0; i < MAX_GPUS; i++)
        for (int j = 0; j < gpus[i].mig_count; j++) {
            char uuid[96];
            strcpy(uuid, mig[i][j].uuid);
            mig[i][j] = gpus[i];
            strcpy(mig[i][j].uuid, uuid);
            strcat(mig[i][j].name, " MIG 1g");
            mig[i][j].mem_total /= 8;
            mig[i][j].parent = &gpus[i];
            mig[i][j].instance = 7 + j;
            mig[i][j].mig_count = 0;
        }
}

/* What the fake libraries of AMD and Intel share: a script that says what the GPUs say.
 *
 * The script is the file named by an environment variable, read when the library is opened, lines of
 * "<who> <key> <value>": <who> is a GPU's number, * for all of them, or - for the machine. Of lines
 * that fit, the last counts. What a library knows of keys stands at the top of its file; for each:
 *   error:CALL CODE                  CALL returns CODE
 *   lost_after_s S, back_after_s S   the GPU is lost from then to then, seconds since opening
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))
#define MAX_LINES 512
static struct { char who[8], key[64], value[128]; } lines[MAX_LINES];
static int line_count;
static double zero_s;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec - zero_s;
}

static void read_script(const char *variable) {
    zero_s = 0;
    zero_s = now_s();
    line_count = 0;
    const char *path = getenv(variable);
    FILE *file = path ? fopen(path, "r") : NULL;
    while (file && line_count < MAX_LINES &&
           fscanf(file, "%7s %63s %127[^\n]", lines[line_count].who, lines[line_count].key,
                  lines[line_count].value) == 3)
        line_count++;
    if (file) fclose(file);
}

/* What the script says of GPU i (-1: the machine), or `otherwise`. */
static const char *text(int i, const char *key, const char *otherwise) {
    for (int at = line_count - 1; at >= 0; at--) {
        const char *who = lines[at].who;
        int fits = i < 0 ? !strcmp(who, "-") : !strcmp(who, "*") || (strcmp(who, "-") && atoi(who) == i);
        if (fits && !strcmp(lines[at].key, key)) return lines[at].value;
    }
    return otherwise;
}

static double number(int i, const char *key, double otherwise) {
    const char *told = text(i, key, NULL);
    return told ? atof(told) : otherwise;
}

/* What `call` returns for GPU i now; `lost` is the library's word for a GPU that is lost. */
static int code_of(int i, const char *call, int lost) {
    double after_s = number(i, "lost_after_s", -1), back_s = number(i, "back_after_s", -1);
    if (after_s >= 0 && now_s() >= after_s && (back_s < 0 || now_s() < back_s)) return lost;
    char key[64];
    snprintf(key, sizeof key, "error:%s", call);
    return (int)strtol(text(i, key, "0"), NULL, 0);
}

/* A stand-in for libxenlight: libxl's own symbols over guests that only pretend to run.
 *
 * It is for tests of what stands above libxl, on machines without Xen. A host is a folder
 * that any process may use; a guest is an entry in the table there that counts as time
 * passes, aloud, into a file; what libxl itself does is not simulated any further.
 */

#ifndef STANDIN_H
#define STANDIN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>

#define MAX_GUESTS 1200
#define PAGE 4096
#define TICK_NS 10000000ull /* a guest counts every 10 ms */

struct guest {
    bool used, dying, paused, shut;
    int reason;
    uint32_t domid;
    uint8_t uuid[16];
    char name[256];
    int type;
    uint64_t memory, most; /* KiB */
    int vcpus;
    uint64_t count, written; /* counted, and counted aloud */
    uint64_t since;          /* when it began to run, ns; 0: it does not */
    uint64_t cpu_time;
    bool suspending;         /* asked to suspend */
};

struct host {
    uint32_t next_domid;
    uint64_t free_memory;
    struct guest guests[MAX_GUESTS];
};

/* What an operation's thread has to say: as with libxl, whoever waits for it says it. */
struct note {
    struct note *next;
    int level; /* below 0: progress */
    char text[256];
    unsigned long done, total;
};

struct libxl__ctx {
    char folder[512];
    int fd;
    struct host *host;
    xentoollog_logger *logger;
    pthread_mutex_t mutex;
    pthread_cond_t happened;
    libxl_event *events;
    struct note *notes;
    struct operation *operations;
    struct libxl__evgen_domain_death *watches;
};

/* guests.c */
void standin_open(libxl_ctx *ctx);
void standin_lock(libxl_ctx *ctx);
void standin_unlock(libxl_ctx *ctx);
struct guest *standin_find(libxl_ctx *ctx, uint32_t domid);
struct guest *standin_add(libxl_ctx *ctx, const char *name, const uint8_t *uuid);
void standin_run(libxl_ctx *ctx, struct guest *guest);
void standin_stop(libxl_ctx *ctx, struct guest *guest);
void standin_catch_up(libxl_ctx *ctx, struct guest *guest);
void standin_path(libxl_ctx *ctx, char *path, const char *what, uint32_t domid);
int standin_fault(libxl_ctx *ctx, const char *call);
void standin_say(libxl_ctx *ctx, int level, const char *format, ...);
void standin_report(libxl_ctx *ctx, unsigned long done, unsigned long total);
void standin_tell(libxl_ctx *ctx);
extern __thread bool standin_in_operation;

/* stream.c */
int standin_write_stream(libxl_ctx *ctx, uint32_t domid, int fd, int live, volatile bool *aborted);
int standin_read_stream(libxl_ctx *ctx, int fd, uint64_t *count);

#endif

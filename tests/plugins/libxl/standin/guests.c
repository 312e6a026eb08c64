/* The guests of a host: a table in a file that all processes map, and how they count. */

#include "standin.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t in_process = PTHREAD_MUTEX_INITIALIZER;
static __thread char chosen[512];

/* Says which folder is the host of contexts that this thread opens from now on. */
void standin_host(const char *folder) { snprintf(chosen, sizeof(chosen), "%s", folder); }

void standin_open(libxl_ctx *ctx)
{
    char path[600];

    snprintf(ctx->folder, sizeof(ctx->folder), "%s", chosen);
    snprintf(path, sizeof(path), "%s/guests", ctx->folder);
    ctx->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ctx->fd < 0)
        return;
    pthread_mutex_lock(&in_process);
    flock(ctx->fd, LOCK_EX);
    if (lseek(ctx->fd, 0, SEEK_END) < (off_t)sizeof(struct host)) {
        struct host *fresh = calloc(1, sizeof(*fresh));

        fresh->next_domid = 1;
        fresh->free_memory = 16ull << 20;
        if (pwrite(ctx->fd, fresh, sizeof(*fresh), 0) < 0)
            perror(path);
        free(fresh);
    }
    flock(ctx->fd, LOCK_UN);
    pthread_mutex_unlock(&in_process);
    ctx->host = mmap(NULL, sizeof(struct host), PROT_READ | PROT_WRITE, MAP_SHARED, ctx->fd, 0);
}

void standin_lock(libxl_ctx *ctx)
{
    pthread_mutex_lock(&in_process);
    flock(ctx->fd, LOCK_EX);
}

void standin_unlock(libxl_ctx *ctx)
{
    flock(ctx->fd, LOCK_UN);
    pthread_mutex_unlock(&in_process);
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

struct guest *standin_find(libxl_ctx *ctx, uint32_t domid)
{
    int i;

    for (i = 0; i < MAX_GUESTS; i++)
        if (ctx->host->guests[i].used && ctx->host->guests[i].domid == domid)
            return &ctx->host->guests[i];
    return NULL;
}

struct guest *standin_add(libxl_ctx *ctx, const char *name, const uint8_t *uuid)
{
    struct guest *guest;
    int i;

    for (i = 0; i < MAX_GUESTS; i++)
        if (!ctx->host->guests[i].used)
            break;
    if (i == MAX_GUESTS)
        return NULL;
    guest = &ctx->host->guests[i];
    memset(guest, 0, sizeof(*guest));
    guest->used = guest->paused = true;
    guest->domid = ctx->host->next_domid++;
    memcpy(guest->uuid, uuid, 16);
    snprintf(guest->name, sizeof(guest->name), "%s", name);
    return guest;
}

void standin_path(libxl_ctx *ctx, char *path, const char *what, uint32_t domid)
{
    snprintf(path, 600, "%s/%s-%u", ctx->folder, what, domid);
}

/* Count what the time that has passed is worth, and say it. */
void standin_catch_up(libxl_ctx *ctx, struct guest *guest)
{
    uint64_t time = now(), more;
    char path[700], *text;
    FILE *console;
    int i;

    if (guest->since) {
        more = (time - guest->since) / TICK_NS;
        guest->count += more;
        guest->since += more * TICK_NS;
        guest->cpu_time += more * TICK_NS / 10;
    }
    if (guest->written >= guest->count)
        return;
    /* One console for a guest wherever it is: beside the hosts. */
    text = path + snprintf(path, sizeof(path), "%s/../console-", ctx->folder);
    for (i = 0; i < 16; i++)
        text += sprintf(text, "%02x", guest->uuid[i]);
    console = fopen(path, "a");
    if (!console)
        return;
    while (guest->written < guest->count)
        fprintf(console, "tick %04X\n", (unsigned)++guest->written);
    fclose(console);
}

void standin_run(libxl_ctx *ctx, struct guest *guest)
{
    if (!guest->since && !guest->paused && !guest->shut)
        guest->since = now();
}

void standin_stop(libxl_ctx *ctx, struct guest *guest)
{
    standin_catch_up(ctx, guest);
    guest->since = 0;
}

/* What a test has a guest do of itself: shut down for a reason. */
int standin_guest_ends(const char *folder, uint32_t domid, int reason)
{
    struct libxl__ctx ctx;
    struct guest *guest;

    memset(&ctx, 0, sizeof(ctx));
    standin_host(folder);
    standin_open(&ctx);
    standin_lock(&ctx);
    guest = standin_find(&ctx, domid);
    if (guest) {
        standin_stop(&ctx, guest);
        guest->shut = true;
        guest->reason = reason;
    }
    standin_unlock(&ctx);
    munmap(ctx.host, sizeof(struct host));
    close(ctx.fd);
    return guest ? 0 : -1;
}

/* The control domain, which is there on every real host. */
int standin_add_control(const char *folder)
{
    static const uint8_t none[16];
    struct libxl__ctx ctx;
    struct guest *guest;

    memset(&ctx, 0, sizeof(ctx));
    standin_host(folder);
    standin_open(&ctx);
    standin_lock(&ctx);
    guest = standin_add(&ctx, "Domain-0", none);
    guest->domid = 0;
    guest->type = LIBXL_DOMAIN_TYPE_PV;
    guest->memory = 1 << 20;
    guest->most = ~0ull >> 10;
    guest->vcpus = 2;
    guest->paused = false;
    standin_unlock(&ctx);
    munmap(ctx.host, sizeof(struct host));
    close(ctx.fd);
    return 0;
}

/* Faults that a test has put into the file "faults", a line each: CALL CODE. */
int standin_fault(libxl_ctx *ctx, const char *call)
{
    char path[600], name[128];
    int code, found = 0;
    FILE *faults;

    snprintf(path, sizeof(path), "%s/faults", ctx->folder);
    faults = fopen(path, "r");
    if (!faults)
        return 0;
    while (!found && fscanf(faults, "%127s %d", name, &code) == 2)
        if (!strcmp(name, call))
            found = code;
    fclose(faults);
    if (found)
        standin_say(ctx, XTL_ERROR, "%s: a fault that was asked for", call);
    return found;
}

__thread bool standin_in_operation;

static void keep(libxl_ctx *ctx, struct note note)
{
    struct note *kept = malloc(sizeof(note)), **at;

    *kept = note;
    pthread_mutex_lock(&ctx->mutex);
    for (at = &ctx->notes; *at; at = &(*at)->next)
        ;
    *at = kept;
    pthread_cond_broadcast(&ctx->happened);
    pthread_mutex_unlock(&ctx->mutex);
}

static void say(libxl_ctx *ctx, int level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    ctx->logger->vmessage(ctx->logger, level, -1, "standin", format, arguments);
    va_end(arguments);
}

void standin_say(libxl_ctx *ctx, int level, const char *format, ...)
{
    struct note note = { .level = level };
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(note.text, sizeof(note.text), format, arguments);
    va_end(arguments);
    if (standin_in_operation)
        keep(ctx, note);
    else
        say(ctx, level, "%s", note.text);
}

void standin_report(libxl_ctx *ctx, unsigned long done, unsigned long total)
{
    keep(ctx, (struct note){ .level = -1, .done = done, .total = total });
}

/* Say what was kept; the context's mutex is held, and let go meanwhile. */
void standin_tell(libxl_ctx *ctx)
{
    struct note *note;

    while ((note = ctx->notes)) {
        ctx->notes = note->next;
        pthread_mutex_unlock(&ctx->mutex);
        if (note->level >= 0)
            say(ctx, note->level, "%s", note->text);
        else
            ctx->logger->progress(ctx->logger, "xc", "Frames iteration 0",
                                  100 * note->done / note->total, note->done, note->total);
        free(note);
        pthread_mutex_lock(&ctx->mutex);
    }
}

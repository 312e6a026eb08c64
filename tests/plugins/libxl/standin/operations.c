/* What takes long, each in a thread of its own, and the events that tell of it. */

#include "standin.h"

#include <elf.h>
#include <unistd.h>

struct operation {
    struct operation *next;
    libxl_ctx *ctx;
    uint64_t token;
    volatile bool aborted;
    int kind; /* 'c'reate, 'r'estore, 's'uspend, 'd'ump */
    libxl_domain_config *config;
    uint32_t *out, domid;
    int fd, live;
    char path[600];
};

static int build(struct operation *o, uint64_t count)
{
    libxl_ctx *ctx = o->ctx;
    libxl_domain_config *config = o->config;
    struct guest *guest;
    char path[600];
    FILE *file;
    int i;

    standin_lock(ctx);
    for (i = 0; i < MAX_GUESTS; i++) {
        guest = &ctx->host->guests[i];
        if (guest->used && !strcmp(guest->name, config->c_info.name)) {
            standin_unlock(ctx);
            standin_say(ctx, XTL_ERROR, "domain with name \"%s\" already exists", guest->name);
            return ERROR_INVAL;
        }
    }
    guest = standin_add(ctx, config->c_info.name, config->c_info.uuid.uuid);
    if (guest) {
        guest->type = config->c_info.type;
        guest->memory = guest->most = config->b_info.max_memkb;
        guest->vcpus = config->b_info.max_vcpus;
        guest->count = guest->written = count;
        ctx->host->free_memory -= guest->memory;
        *o->out = guest->domid;
    }
    standin_unlock(ctx);
    if (!guest)
        return ERROR_NOMEM;
    standin_path(ctx, path, "config", *o->out);
    file = fopen(path, "w");
    if (!file)
        return ERROR_FAIL;
    fputs(config->b_info.kernel, file);
    fclose(file);
    return 0;
}

/* An ELF core with the guest's count for a memory; Xen's has sections for its pages. */
static int dump(struct operation *o)
{
    Elf64_Ehdr header = { .e_ident = ELFMAG, .e_type = ET_CORE, .e_machine = EM_X86_64,
                          .e_version = EV_CURRENT, .e_ehsize = sizeof(header) };
    struct guest *guest;
    uint64_t count = 0;
    FILE *core = fopen(o->path, "w");
    int failed;

    if (!core) {
        standin_say(o->ctx, XTL_ERROR, "Could not open corefile %s", o->path);
        return ERROR_FAIL;
    }
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    standin_lock(o->ctx);
    guest = standin_find(o->ctx, o->domid);
    if (guest) {
        standin_catch_up(o->ctx, guest);
        count = guest->count;
    }
    standin_unlock(o->ctx);
    failed = fwrite(&header, sizeof(header), 1, core) != 1
        || fwrite(&count, sizeof(count), 1, core) != 1;
    failed |= fclose(core) != 0;
    return failed ? ERROR_FAIL : 0;
}

static int work(struct operation *o)
{
    static const char *names[] = { ['c'] = "libxl_domain_create_new",
        ['r'] = "libxl_domain_create_restore", ['s'] = "libxl_domain_suspend",
        ['d'] = "libxl_domain_core_dump" };
    int rc = standin_fault(o->ctx, names[o->kind]);
    uint64_t count = 0;

    if (rc)
        return rc;
    switch (o->kind) {
    case 'c':
        return build(o, 0);
    case 'r':
        rc = standin_read_stream(o->ctx, o->fd, &count);
        return rc ? rc : build(o, count);
    case 's':
        return standin_write_stream(o->ctx, o->domid, o->fd, o->live, &o->aborted);
    default:
        return dump(o);
    }
}

static void *in_thread(void *user)
{
    struct operation *o = user, **at;
    libxl_ctx *ctx = o->ctx;
    libxl_event *event = calloc(1, sizeof(*event));
    int rc;

    standin_in_operation = true;
    rc = work(o);
    event->type = LIBXL_EVENT_TYPE_OPERATION_COMPLETE;
    event->for_user = o->token;
    event->u.operation_complete.rc = rc;
    pthread_mutex_lock(&ctx->mutex);
    for (at = &ctx->operations; *at != o; at = &(*at)->next)
        ;
    *at = o->next;
    *(libxl_event **)&event->link = ctx->events;
    ctx->events = event;
    pthread_cond_broadcast(&ctx->happened);
    pthread_mutex_unlock(&ctx->mutex);
    free(o);
    return NULL;
}

static int begin(libxl_ctx *ctx, struct operation operation, const libxl_asyncop_how *how)
{
    struct operation *o = malloc(sizeof(*o));
    pthread_attr_t detached;
    pthread_t thread;

    *o = operation;
    o->ctx = ctx;
    o->token = how->u.for_event;
    pthread_mutex_lock(&ctx->mutex);
    o->next = ctx->operations;
    ctx->operations = o;
    pthread_mutex_unlock(&ctx->mutex);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &detached, in_thread, o);
    pthread_attr_destroy(&detached);
    return 0;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid,
                            const libxl_asyncop_how *how, const libxl_asyncprogress_how *console)
{
    return begin(ctx, (struct operation){ .kind = 'c', .config = config, .out = domid }, how);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid,
                                int fd, int back, const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *how,
                                const libxl_asyncprogress_how *console)
{
    if (params->stream_version != 2) {
        standin_say(ctx, XTL_ERROR, "this libxl restores streams of version 2 only");
        return ERROR_INVAL;
    }
    return begin(ctx,
                 (struct operation){ .kind = 'r', .config = config, .out = domid, .fd = fd }, how);
}

int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                         const libxl_asyncop_how *how)
{
    return begin(ctx, (struct operation){ .kind = 's', .domid = domid, .fd = fd,
                                          .live = flags & LIBXL_SUSPEND_LIVE }, how);
}

int libxl_domain_core_dump(libxl_ctx *ctx, uint32_t domid, const char *path,
                           const libxl_asyncop_how *how)
{
    struct operation operation = { .kind = 'd', .domid = domid };

    snprintf(operation.path, sizeof(operation.path), "%s", path);
    return begin(ctx, operation, how);
}

int libxl_ao_abort(libxl_ctx *ctx, const libxl_asyncop_how *how)
{
    struct operation *o;

    pthread_mutex_lock(&ctx->mutex);
    for (o = ctx->operations; o && o->token != how->u.for_event; o = o->next)
        ;
    /* libxl 4.17 can crash when it is to abort a restore; here it just goes on. */
    if (o && o->kind != 'r')
        o->aborted = true;
    pthread_mutex_unlock(&ctx->mutex);
    return o ? 0 : ERROR_NOTFOUND;
}

/* ---- events ---- */

static libxl_event *take(libxl_ctx *ctx, libxl_event_predicate *wanted, void *user)
{
    libxl_event **at = &ctx->events, *event;

    for (; (event = *at); at = (libxl_event **)&event->link)
        if (!wanted || wanted(event, user)) {
            *at = *(libxl_event **)&event->link;
            break;
        }
    return event;
}

int libxl_event_wait(libxl_ctx *ctx, libxl_event **out, uint64_t mask,
                     libxl_event_predicate *wanted, void *user)
{
    pthread_mutex_lock(&ctx->mutex);
    for (;;) {
        standin_tell(ctx);
        if ((*out = take(ctx, wanted, user)))
            break;
        pthread_cond_wait(&ctx->happened, &ctx->mutex);
    }
    pthread_mutex_unlock(&ctx->mutex);
    return 0;
}

int libxl_event_check(libxl_ctx *ctx, libxl_event **out, uint64_t mask,
                      libxl_event_predicate *wanted, void *user)
{
    pthread_mutex_lock(&ctx->mutex);
    *out = take(ctx, wanted, user);
    pthread_mutex_unlock(&ctx->mutex);
    return *out ? 0 : ERROR_NOT_READY;
}

void libxl_event_free(libxl_ctx *ctx, libxl_event *event) { free(event); }

struct libxl__evgen_domain_death {
    struct libxl__evgen_domain_death *next;
    uint32_t domid;
    bool shut, gone;
};

int libxl_evenable_domain_death(libxl_ctx *ctx, uint32_t domid, libxl_ev_user user,
                                libxl_evgen_domain_death **out)
{
    *out = calloc(1, sizeof(**out));
    (*out)->domid = domid;
    (*out)->next = ctx->watches;
    ctx->watches = *out;
    return 0;
}

void libxl_evdisable_domain_death(libxl_ctx *ctx, libxl_evgen_domain_death *watch)
{
    libxl_evgen_domain_death **at = &ctx->watches;

    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    free(watch);
}

/* Nothing to poll on: what others do to the table is seen by looking again soon. */
int libxl_osevent_beforepoll(libxl_ctx *ctx, int *count, struct pollfd *fds, int *timeout,
                             struct timeval now)
{
    *count = 0;
    if (*timeout < 0 || *timeout > 10)
        *timeout = 10;
    return 0;
}

void libxl_osevent_afterpoll(libxl_ctx *ctx, int count, const struct pollfd *fds,
                             struct timeval now)
{
    libxl_evgen_domain_death *watch;

    for (watch = ctx->watches; watch; watch = watch->next) {
        struct guest *guest;
        bool shut = false, gone;
        int reason = 0;

        standin_lock(ctx);
        guest = standin_find(ctx, watch->domid);
        gone = !guest;
        if (guest) {
            shut = guest->shut;
            reason = guest->reason;
        }
        standin_unlock(ctx);
        if ((gone && !watch->gone) || (shut && !watch->shut)) {
            libxl_event *event = calloc(1, sizeof(*event));

            event->type = gone ? LIBXL_EVENT_TYPE_DOMAIN_DEATH : LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN;
            event->domid = watch->domid;
            event->u.domain_shutdown.shutdown_reason = reason;
            pthread_mutex_lock(&ctx->mutex);
            *(libxl_event **)&event->link = ctx->events;
            ctx->events = event;
            pthread_mutex_unlock(&ctx->mutex);
        }
        watch->gone = gone;
        watch->shut = shut;
    }
}

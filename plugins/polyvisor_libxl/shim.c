/* A thin, version-independent layer over libxl, compiled against the host's own headers.
 *
 * LIBXL_API_VERSION is defined by who compiles this (binding.py), as one of the values that
 * libxl.h lists. The differences between them are in libxl.h under "API versions".
 */

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
#include <xenctrl.h>
#include <xentoollog.h>

static void pv_log(void *handle, int level, int error, char *context, char *message);
static void pv_progress(void *handle, char *what, unsigned long done, unsigned long total);
static void pv_disaster(void *handle, char *message, int error);

static int pv_api_version(void) { return LIBXL_API_VERSION; }

/* libxl.h: with LIBXL_HAVE_SRM_V2 libxl_domain_suspend() writes migration version 2. */
static int pv_stream_version(void)
{
#ifdef LIBXL_HAVE_SRM_V2
    return 2;
#else
    return 1;
#endif
}

/* ---- connections ---- */

typedef struct {
    xentoollog_logger vtable; /* first: libxl hands us this */
    void *handle;
    volatile int level;
    libxl_ctx *ctx;
    libxl_childproc_hooks children;
    libxl_event_hooks events;
} pv_connection;

static void on_message(xentoollog_logger *logger, xentoollog_level level, int error,
                       const char *context, const char *format, va_list arguments)
{
    pv_connection *connection = (pv_connection *)logger;
    char message[1024];

    if ((int)level < connection->level)
        return;
    vsnprintf(message, sizeof(message), format, arguments);
    pv_log(connection->handle, level, error, (char *)(context ? context : ""), message);
}

static void on_progress(xentoollog_logger *logger, const char *context, const char *what,
                        int percent, unsigned long done, unsigned long total)
{
    pv_progress(((pv_connection *)logger)->handle, (char *)what, done, total);
}

static void on_destroy(xentoollog_logger *logger) { }

static void on_disaster(void *user, libxl_event_type type, const char *message, int error)
{
    pv_disaster(((pv_connection *)user)->handle, (char *)message, error);
}

static pv_connection *pv_connect(void *handle, int level, int *rc)
{
    pv_connection *connection = calloc(1, sizeof(*connection));

    if (!connection) {
        *rc = ERROR_NOMEM;
        return NULL;
    }
    connection->vtable.vmessage = on_message;
    connection->vtable.progress = on_progress;
    connection->vtable.destroy = on_destroy;
    connection->handle = handle;
    connection->level = level;
    *rc = libxl_ctx_alloc(&connection->ctx, LIBXL_VERSION, 0, &connection->vtable);
    if (*rc) {
        free(connection);
        return NULL;
    }
    /* Children of ours are Python's to reap, and there may be several contexts. */
    connection->children.chldowner = libxl_sigchld_owner_libxl_always_selective_reap;
    libxl_childproc_setmode(connection->ctx, &connection->children, connection);
    /* Without this libxl ends the whole process when it runs out of something. */
    connection->events.disaster = on_disaster;
    libxl_event_register_callbacks(connection->ctx, &connection->events, connection);
    return connection;
}

static void pv_disconnect(pv_connection *connection)
{
    libxl_ctx_free(connection->ctx);
    free(connection);
}

static libxl_ctx *pv_context(pv_connection *connection) { return connection->ctx; }

static void pv_log_from(pv_connection *connection, int level) { connection->level = level; }

/* ---- configurations ---- */

static libxl_domain_config *new_config(void)
{
    libxl_domain_config *config = malloc(sizeof(*config));

    if (config)
        libxl_domain_config_init(config);
    return config;
}

static void pv_config_free(libxl_domain_config *config)
{
    libxl_domain_config_dispose(config);
    free(config);
}

static libxl_domain_config *pv_config_read(libxl_ctx *ctx, const char *json)
{
    libxl_domain_config *config = new_config();

    if (config && libxl_domain_config_from_json(ctx, config, json)) {
        pv_config_free(config);
        return NULL;
    }
    return config;
}

static libxl_domain_config *pv_config_of(libxl_ctx *ctx, uint32_t domid, int *rc)
{
    libxl_domain_config *config = new_config();

    if (!config) {
        *rc = ERROR_NOMEM;
        return NULL;
    }
#if LIBXL_API_VERSION >= 0x041300
    *rc = libxl_retrieve_domain_configuration(ctx, domid, config, NULL);
#else
    *rc = libxl_retrieve_domain_configuration(ctx, domid, config);
#endif
    if (*rc) {
        pv_config_free(config);
        return NULL;
    }
    return config;
}

static char *pv_config_write(libxl_ctx *ctx, libxl_domain_config *config)
{
    return libxl_domain_config_to_json(ctx, config);
}

/* ---- what takes long ---- */

static libxl_asyncop_how how_of(uint64_t token)
{
    libxl_asyncop_how how;

    memset(&how, 0, sizeof(how));
    how.u.for_event = token;
    return how;
}

static int pv_create(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid, uint64_t token)
{
    libxl_asyncop_how how = how_of(token);

    return libxl_domain_create_new(ctx, config, domid, &how, NULL);
}

static int pv_restore(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid, int fd,
                      uint32_t version, uint64_t token)
{
    libxl_asyncop_how how = how_of(token);
    libxl_domain_restore_params params;
    int rc;

    libxl_domain_restore_params_init(&params);
#ifdef LIBXL_HAVE_SRM_V2
    params.stream_version = version;
#else
    if (version > 1)
        return ERROR_NI;
#endif
#if LIBXL_API_VERSION >= 0x040700
    rc = libxl_domain_create_restore(ctx, config, domid, fd, -1, &params, &how, NULL);
#else
    rc = libxl_domain_create_restore(ctx, config, domid, fd, &params, &how, NULL);
#endif
    libxl_domain_restore_params_dispose(&params);
    return rc;
}

static int pv_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int live, uint64_t token)
{
    libxl_asyncop_how how = how_of(token);

    return libxl_domain_suspend(ctx, domid, fd, live ? LIBXL_SUSPEND_LIVE : 0, &how);
}

static int pv_core_dump(libxl_ctx *ctx, uint32_t domid, const char *path, uint64_t token)
{
    libxl_asyncop_how how = how_of(token);

    return libxl_domain_core_dump(ctx, domid, path, &how);
}

static int is_ours(const libxl_event *event, void *user)
{
    return event->type == LIBXL_EVENT_TYPE_OPERATION_COMPLETE
        && event->for_user == *(uint64_t *)user;
}

static int pv_wait(libxl_ctx *ctx, uint64_t token, int *rc)
{
    libxl_event *event;
    int failed = libxl_event_wait(ctx, &event, LIBXL_EVENTMASK_ALL, is_ours, &token);

    if (failed)
        return failed;
    *rc = event->u.operation_complete.rc;
    libxl_event_free(ctx, event);
    return 0;
}

static int pv_abort(libxl_ctx *ctx, uint64_t token)
{
#ifdef LIBXL_HAVE_AO_ABORT
    libxl_asyncop_how how = how_of(token);

    return libxl_ao_abort(ctx, &how);
#else
    return ERROR_NI;
#endif
}

/* ---- what does not ---- */

#if LIBXL_API_VERSION >= 0x041300
#define AT_ONCE , NULL
#else
#define AT_ONCE
#endif

static int pv_pause(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_pause(ctx, domid AT_ONCE);
}

static int pv_unpause(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_unpause(ctx, domid AT_ONCE);
}

static int pv_shutdown(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_shutdown(ctx, domid AT_ONCE);
}

static int pv_reboot(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_reboot(ctx, domid AT_ONCE);
}

static int pv_press(libxl_ctx *ctx, uint32_t domid, int button)
{
    static const libxl_trigger triggers[] = {
        LIBXL_TRIGGER_POWER, LIBXL_TRIGGER_RESET, LIBXL_TRIGGER_SLEEP,
    };

    return libxl_send_trigger(ctx, domid, triggers[button], 0 AT_ONCE);
}

/* xenctrl.h: a "fast" resume continues the guest's own suspend call, which says "cancelled". */
static int pv_resume(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_resume(ctx, domid, 1, NULL);
}

static int pv_destroy(libxl_ctx *ctx, uint32_t domid)
{
    return libxl_domain_destroy(ctx, domid, NULL);
}

static int pv_set_memory(libxl_ctx *ctx, uint32_t domid, uint64_t kib)
{
    return libxl_set_memory_target(ctx, domid, kib, 0, 1);
}

static int pv_set_max_memory(libxl_ctx *ctx, uint32_t domid, uint64_t kib)
{
    return libxl_domain_setmaxmem(ctx, domid, kib);
}

static int pv_set_vcpus(libxl_ctx *ctx, uint32_t domid, int count)
{
    libxl_bitmap map;
    int i, rc;

    libxl_bitmap_init(&map);
    rc = libxl_cpu_bitmap_alloc(ctx, &map, count);
    if (rc)
        return rc;
    for (i = 0; i < count; i++)
        libxl_bitmap_set(&map, i);
    rc = libxl_set_vcpuonline(ctx, domid, &map AT_ONCE);
    libxl_bitmap_dispose(&map);
    return rc;
}

/* Keep a domain that has shut down under another name and UUID, as a domain of its own.
 *
 * libxl_domain_preserve changes what xenstore has of it, but not the UUID that Xen has, by which
 * libxl finds the configuration that it keeps: both are moved here. */
static int pv_preserve(libxl_ctx *ctx, uint32_t domid, const char *name, const char *suffix,
                       const uint8_t *uuid)
{
    static const char *stored = "libxl-json"; /* libxl_internal.h */
    libxl_domain_create_info info;
    xen_domain_handle_t handle;
    xc_interface *hypervisor;
    libxl_uuid fresh;
    uint8_t *data = NULL;
    int rc, length = 0;

    memcpy(fresh.uuid, uuid, sizeof(fresh.uuid));
    memcpy(handle, uuid, sizeof(handle));
    if (libxl_userdata_retrieve(ctx, domid, stored, &data, &length))
        data = NULL;
    libxl_domain_create_info_init(&info);
    info.name = strdup(name);
    rc = libxl_domain_preserve(ctx, domid, &info, suffix, fresh);
    libxl_domain_create_info_dispose(&info);
    hypervisor = rc ? NULL : xc_interface_open(NULL, NULL, 0);
    if (!rc && !hypervisor)
        rc = ERROR_FAIL;
    if (!rc && data)
        libxl_userdata_unlink(ctx, domid, stored);
    if (!rc && xc_domain_sethandle(hypervisor, domid, handle))
        rc = ERROR_FAIL;
    if (!rc && data && length)
        rc = libxl_userdata_store(ctx, domid, stored, data, length);
    if (hypervisor)
        xc_interface_close(hypervisor);
    free(data);
    return rc;
}

static int pv_need_memory(libxl_ctx *ctx, libxl_domain_config *config, uint64_t *kib)
{
#if LIBXL_API_VERSION >= 0x041300
    return libxl_domain_need_memory(ctx, config, INVALID_DOMID, kib);
#elif LIBXL_API_VERSION >= 0x040800
    return libxl_domain_need_memory(ctx, &config->b_info, kib);
#else
    uint32_t need = 0;
    int rc = libxl_domain_need_memory(ctx, &config->b_info, &need);

    *kib = need;
    return rc;
#endif
}

static int pv_free_memory(libxl_ctx *ctx, uint64_t *kib)
{
#if LIBXL_API_VERSION >= 0x040800
    return libxl_get_free_memory(ctx, kib);
#else
    uint32_t free_kib = 0;
    int rc = libxl_get_free_memory(ctx, &free_kib);

    *kib = free_kib;
    return rc;
#endif
}

static int pv_wait_for_memory(libxl_ctx *ctx, uint32_t domid, uint64_t kib, int seconds)
{
    return libxl_wait_for_free_memory(ctx, domid, kib, seconds);
}

static int pv_console(libxl_ctx *ctx, uint32_t domid, int number, int serial, char **path)
{
    libxl_console_type type = serial ? LIBXL_CONSOLE_TYPE_SERIAL : LIBXL_CONSOLE_TYPE_PV;

    *path = NULL;
    if (number < 0)
        return libxl_primary_console_get_tty(ctx, domid, path);
    return libxl_console_get_tty(ctx, domid, number, type, path);
}

#define DEVICE(NAME) do { \
        libxl_device_##NAME device; \
        int rc; \
        libxl_device_##NAME##_init(&device); \
        rc = libxl_device_##NAME##_from_json(ctx, &device, json); \
        if (!rc) \
            rc = add ? libxl_device_##NAME##_add(ctx, domid, &device, NULL) \
                     : libxl_device_##NAME##_remove(ctx, domid, &device, NULL); \
        libxl_device_##NAME##_dispose(&device); \
        return rc; \
    } while (0)

static int pv_device(libxl_ctx *ctx, uint32_t domid, const char *kind, int add, const char *json)
{
    if (!strcmp(kind, "disk"))
        DEVICE(disk);
    if (!strcmp(kind, "nic"))
        DEVICE(nic);
    if (!strcmp(kind, "pci"))
        DEVICE(pci);
    return ERROR_INVAL;
}

/* ---- what guests do of themselves ---- */

typedef struct { int kind; uint32_t domid; uint8_t uuid[16]; int reason; } pv_event;

static int pv_watch(libxl_ctx *ctx, uint32_t domid, void **watch)
{
    return libxl_evenable_domain_death(ctx, domid, 0, (libxl_evgen_domain_death **)watch);
}

static void pv_unwatch(libxl_ctx *ctx, void *watch)
{
    libxl_evdisable_domain_death(ctx, watch);
}

/* Wait for an event, or for one of a few descriptors to become readable.
 * Returns 1 for an event, 0 for a descriptor, below 0 if libxl fails. */
static int pv_next_event(libxl_ctx *ctx, const int *fds, int count, pv_event *out)
{
    struct pollfd *polled = NULL;
    int room = 16, result;

    for (;;) {
        struct timeval now;
        libxl_event *event;
        int i, n, rc, timeout = -1, ready = 0;

        rc = libxl_event_check(ctx, &event, LIBXL_EVENTMASK_ALL, NULL, NULL);
        if (!rc) {
            out->kind = event->type;
            out->domid = event->domid;
            memcpy(out->uuid, event->domuuid.uuid, sizeof(out->uuid));
            out->reason = event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN
                ? event->u.domain_shutdown.shutdown_reason : -1;
            libxl_event_free(ctx, event);
            result = 1;
            break;
        }
        if (rc != ERROR_NOT_READY) {
            result = rc;
            break;
        }
        do {
            struct pollfd *more = realloc(polled, (room + count) * sizeof(*polled));

            if (!more) {
                free(polled);
                return ERROR_NOMEM;
            }
            polled = more;
            n = room;
            gettimeofday(&now, NULL);
            rc = libxl_osevent_beforepoll(ctx, &n, polled, &timeout, now);
            if (rc == ERROR_BUFFERFULL)
                room = n;
        } while (rc == ERROR_BUFFERFULL);
        if (rc) {
            result = rc;
            break;
        }
        for (i = 0; i < count; i++) {
            polled[n + i].fd = fds[i];
            polled[n + i].events = POLLIN;
            polled[n + i].revents = 0;
        }
        if (poll(polled, n + count, timeout) < 0)
            for (i = 0; i < n + count; i++)
                polled[i].revents = 0;
        gettimeofday(&now, NULL);
        libxl_osevent_afterpoll(ctx, n, polled, now);
        for (i = 0; i < count; i++)
            ready |= polled[n + i].revents;
        if (ready) {
            result = 0;
            break;
        }
    }
    free(polled);
    return result;
}

/* libxl's symbols. */

#include "standin.h"

#include <sys/mman.h>
#include <unistd.h>
#include <xenctrl.h>

#define IN(NAME) do { int fault = standin_fault(ctx, #NAME); if (fault) return fault; } while (0)

int libxl_ctx_alloc(libxl_ctx **out, int version, unsigned flags, xentoollog_logger *logger)
{
    libxl_ctx *ctx = calloc(1, sizeof(*ctx));

    ctx->logger = logger;
    pthread_mutex_init(&ctx->mutex, NULL);
    pthread_cond_init(&ctx->happened, NULL);
    standin_open(ctx);
    if (!ctx->host || ctx->host == MAP_FAILED) {
        standin_say(ctx, XTL_ERROR, "cannot open the host %s", ctx->folder);
        free(ctx);
        return ERROR_FAIL;
    }
    *out = ctx;
    return 0;
}

int libxl_ctx_free(libxl_ctx *ctx)
{
    munmap(ctx->host, sizeof(struct host));
    close(ctx->fd);
    pthread_mutex_destroy(&ctx->mutex);
    pthread_cond_destroy(&ctx->happened);
    free(ctx);
    return 0;
}

void libxl_childproc_setmode(libxl_ctx *ctx, const libxl_childproc_hooks *hooks, void *user) { }
void libxl_event_register_callbacks(libxl_ctx *ctx, const libxl_event_hooks *h, void *user) { }

const libxl_version_info *libxl_get_version_info(libxl_ctx *ctx)
{
    static libxl_version_info info = {
        .xen_version_major = 4, .xen_version_minor = 17, .xen_version_extra = ".0-standin",
        .capabilities = "xen-3.0-x86_64 hvm-3.0-x86_64", .commandline = "", .pagesize = PAGE,
    };
    return &info;
}

int libxl_get_physinfo(libxl_ctx *ctx, libxl_physinfo *info)
{
    memset(info, 0, sizeof(*info));
    info->nr_cpus = info->cores_per_socket = 2;
    info->cpu_khz = 2000000;
    info->total_pages = 4 << 20;
    info->free_pages = ctx->host->free_memory / 4;
    return 0;
}

/* ---- looking ---- */

static void describe(libxl_ctx *ctx, struct guest *guest, libxl_dominfo *info)
{
    standin_catch_up(ctx, guest);
    memset(info, 0, sizeof(*info));
    memcpy(info->uuid.uuid, guest->uuid, 16);
    info->domid = guest->domid;
    info->paused = guest->paused;
    info->shutdown = guest->shut;
    info->running = guest->since != 0;
    info->dying = guest->dying;
    info->shutdown_reason = guest->shut ? guest->reason : LIBXL_SHUTDOWN_REASON_UNKNOWN;
    info->current_memkb = guest->memory;
    info->max_memkb = guest->most;
    info->cpu_time = guest->cpu_time;
    info->vcpu_online = guest->vcpus;
    info->vcpu_max_id = guest->vcpus - 1;
    info->domain_type = guest->type;
}

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *count)
{
    libxl_dominfo *found = calloc(MAX_GUESTS, sizeof(*found));
    int i, n = 0;

    standin_lock(ctx);
    for (i = 0; i < MAX_GUESTS; i++)
        if (ctx->host->guests[i].used)
            describe(ctx, &ctx->host->guests[i], &found[n++]);
    standin_unlock(ctx);
    *count = n;
    return found;
}

void libxl_dominfo_list_free(libxl_dominfo *list, int count) { free(list); }
void libxl_dominfo_init(libxl_dominfo *info) { memset(info, 0, sizeof(*info)); }
void libxl_dominfo_dispose(libxl_dominfo *info) { }

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *info, uint32_t domid)
{
    struct guest *guest;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        describe(ctx, guest, info);
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

char *libxl_domid_to_name(libxl_ctx *ctx, uint32_t domid)
{
    struct guest *guest;
    char *name;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    name = guest ? strdup(guest->name) : NULL;
    standin_unlock(ctx);
    return name;
}

int libxl_domain_rename(libxl_ctx *ctx, uint32_t domid, const char *old, const char *new)
{
    struct guest *guest;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        snprintf(guest->name, sizeof(guest->name), "%s", new);
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

/* libxenctrl asks the hypervisor itself, and has no context: its calls mean the host on which
 * this thread has preserved a domain just before. */
static __thread libxl_ctx *preserving;

void libxl_domain_create_info_init(libxl_domain_create_info *info)
{
    memset(info, 0, sizeof(*info));
}

void libxl_domain_create_info_dispose(libxl_domain_create_info *info) { free(info->name); }

int libxl_domain_preserve(libxl_ctx *ctx, uint32_t domid, libxl_domain_create_info *info,
                          const char *suffix, libxl_uuid uuid)
{
    char name[300];

    IN(libxl_domain_preserve);
    preserving = ctx;
    snprintf(name, sizeof(name), "%s%s", info->name, suffix);
    return libxl_domain_rename(ctx, domid, info->name, name);
}

xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *builder, unsigned f)
{
    return (xc_interface *)preserving;
}

int xc_interface_close(xc_interface *hypervisor) { return 0; }

int xc_domain_sethandle(xc_interface *hypervisor, uint32_t domid, xen_domain_handle_t handle)
{
    libxl_ctx *ctx = (libxl_ctx *)hypervisor;
    struct guest *guest;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        memcpy(guest->uuid, handle, 16);
    standin_unlock(ctx);
    return guest ? 0 : -1;
}

/* What the host keeps of a domain's configuration is known by its number alone. */
int libxl_userdata_retrieve(libxl_ctx *ctx, uint32_t domid, const char *user, uint8_t **data,
                            int *length)
{
    *data = NULL;
    *length = 0;
    return 0;
}

int libxl_userdata_unlink(libxl_ctx *ctx, uint32_t domid, const char *user) { return 0; }

int libxl_userdata_store(libxl_ctx *ctx, uint32_t domid, const char *user, const uint8_t *data,
                         int length)
{
    return 0;
}

/* ---- changing ---- */

static int change(libxl_ctx *ctx, uint32_t domid, void (*how)(libxl_ctx *, struct guest *))
{
    struct guest *guest;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        how(ctx, guest);
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

static void pause_it(libxl_ctx *ctx, struct guest *guest)
{
    standin_stop(ctx, guest);
    guest->paused = true;
}

static void unpause_it(libxl_ctx *ctx, struct guest *guest)
{
    guest->paused = false;
    standin_run(ctx, guest);
}

static void resume_it(libxl_ctx *ctx, struct guest *guest)
{
    if (guest->shut && guest->reason == LIBXL_SHUTDOWN_REASON_SUSPEND)
        guest->shut = false;
    standin_run(ctx, guest);
}

static void end_it(libxl_ctx *ctx, struct guest *guest, int reason)
{
    if (guest->paused)
        return; /* it does not hear us */
    standin_stop(ctx, guest);
    guest->shut = true;
    guest->reason = reason;
}

static void power_off(libxl_ctx *ctx, struct guest *guest)
{
    end_it(ctx, guest, LIBXL_SHUTDOWN_REASON_POWEROFF);
}

static void boot_again(libxl_ctx *ctx, struct guest *guest)
{
    end_it(ctx, guest, LIBXL_SHUTDOWN_REASON_REBOOT);
}

static void remove_it(libxl_ctx *ctx, struct guest *guest)
{
    char path[600];

    standin_stop(ctx, guest);
    guest->used = false;
    ctx->host->free_memory += guest->memory;
    standin_path(ctx, path, "config", guest->domid);
    unlink(path);
    standin_path(ctx, path, "devices", guest->domid);
    unlink(path);
}

#define CALL(NAME, HOW) \
    int NAME(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) \
    { IN(NAME); return change(ctx, domid, HOW); }
CALL(libxl_domain_pause, pause_it)
CALL(libxl_domain_unpause, unpause_it)
CALL(libxl_domain_shutdown, power_off)
CALL(libxl_domain_reboot, boot_again)
CALL(libxl_domain_destroy, remove_it)

int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int cancel, const libxl_asyncop_how *how)
{
    IN(libxl_domain_resume);
    return change(ctx, domid, resume_it);
}

int libxl_send_trigger(libxl_ctx *ctx, uint32_t domid, libxl_trigger trigger, uint32_t vcpu,
                       const libxl_asyncop_how *how)
{
    IN(libxl_send_trigger);
    return change(ctx, domid, trigger == LIBXL_TRIGGER_POWER ? power_off : boot_again);
}

int libxl_set_memory_target(libxl_ctx *ctx, uint32_t domid, int64_t kib, int relative, int enforce)
{
    struct guest *guest;

    IN(libxl_set_memory_target);
    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest) {
        ctx->host->free_memory += guest->memory - kib;
        guest->memory = kib;
    }
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

int libxl_domain_setmaxmem(libxl_ctx *ctx, uint32_t domid, uint64_t kib)
{
    struct guest *guest;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        guest->most = kib;
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

void libxl_bitmap_init(libxl_bitmap *map) { memset(map, 0, sizeof(*map)); }
void libxl_bitmap_dispose(libxl_bitmap *map) { free(map->map); }
void libxl_bitmap_set(libxl_bitmap *map, int bit) { map->map[bit / 8] |= 1 << (bit % 8); }

int libxl_cpu_bitmap_alloc(libxl_ctx *ctx, libxl_bitmap *map, int bits)
{
    map->size = (bits + 7) / 8;
    map->map = calloc(1, map->size);
    return 0;
}

int libxl_set_vcpuonline(libxl_ctx *ctx, uint32_t domid, libxl_bitmap *map,
                         const libxl_asyncop_how *how)
{
    struct guest *guest;
    unsigned i;
    int count = 0;

    IN(libxl_set_vcpuonline);
    for (i = 0; i < map->size * 8; i++)
        count += map->map[i / 8] >> (i % 8) & 1;
    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    if (guest)
        guest->vcpus = count;
    standin_unlock(ctx);
    return guest ? 0 : ERROR_DOMAIN_NOTFOUND;
}

int libxl_domain_need_memory(libxl_ctx *ctx, libxl_domain_config *config, uint32_t domid,
                             uint64_t *kib)
{
    *kib = config->b_info.max_memkb;
    return 0;
}

int libxl_get_free_memory(libxl_ctx *ctx, uint64_t *kib)
{
    *kib = ctx->host->free_memory;
    return 0;
}

int libxl_wait_for_free_memory(libxl_ctx *ctx, uint32_t domid, uint64_t kib, int seconds)
{
    return ctx->host->free_memory >= kib ? 0 : ERROR_NOMEM;
}

/* Where a console ends is what the test has put into a file; real ones have xenconsoled. */
int libxl_console_get_tty(libxl_ctx *ctx, uint32_t domid, int number, libxl_console_type type,
                          char **path)
{
    char what[40], file[600], tty[200] = "";
    FILE *found;

    snprintf(what, sizeof(what), "%s%d",
             type == LIBXL_CONSOLE_TYPE_SERIAL ? "serial" : "console", number);
    standin_path(ctx, file, what, domid);
    found = fopen(file, "r");
    if (!found || !fgets(tty, sizeof(tty), found))
        standin_say(ctx, XTL_ERROR, "unable to read console tty path %s", file);
    if (found)
        fclose(found);
    if (!tty[0])
        return ERROR_INVAL;
    *path = strdup(tty);
    return 0;
}

int libxl_primary_console_get_tty(libxl_ctx *ctx, uint32_t domid, char **path)
{
    struct guest *guest;
    bool hvm;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    hvm = guest && guest->type == LIBXL_DOMAIN_TYPE_HVM;
    standin_unlock(ctx);
    return libxl_console_get_tty(ctx, domid, 0,
                                 hvm ? LIBXL_CONSOLE_TYPE_SERIAL : LIBXL_CONSOLE_TYPE_PV, path);
}

/* A device is kept as the text it came as. */
static int device(libxl_ctx *ctx, uint32_t domid, const char *what, const char *text)
{
    char path[600];
    FILE *devices;

    standin_path(ctx, path, "devices", domid);
    devices = fopen(path, "a");
    if (!devices)
        return ERROR_FAIL;
    fprintf(devices, "%s %s\n", what, text);
    fclose(devices);
    return 0;
}

#define DEVICE(NAME, FIELD) \
    void libxl_device_##NAME##_init(libxl_device_##NAME *d) { memset(d, 0, sizeof(*d)); } \
    void libxl_device_##NAME##_dispose(libxl_device_##NAME *d) { free(d->FIELD); } \
    int libxl_device_##NAME##_from_json(libxl_ctx *ctx, libxl_device_##NAME *d, const char *s) \
    { d->FIELD = strdup(s); return 0; } \
    int libxl_device_##NAME##_add(libxl_ctx *ctx, uint32_t domid, libxl_device_##NAME *d, \
                                  const libxl_asyncop_how *how) \
    { IN(libxl_device_##NAME##_add); return device(ctx, domid, "add " #NAME, d->FIELD); } \
    int libxl_device_##NAME##_remove(libxl_ctx *ctx, uint32_t domid, libxl_device_##NAME *d, \
                                     const libxl_asyncop_how *how) \
    { IN(libxl_device_##NAME##_remove); return device(ctx, domid, "remove " #NAME, d->FIELD); }
DEVICE(disk, pdev_path)
DEVICE(nic, script)
DEVICE(pci, name)

/* What Python sees of libxl: declarations for cffi, implemented by shim.c and libxl itself.
 *
 * Only what has the same form in every libxl since 4.5 is declared as libxl's own; what
 * has changed is wrapped as pv_*, so that the compiler and not we choose the form.
 */

typedef ... libxl_ctx;
typedef ... libxl_domain_config;
typedef ... pv_connection;

typedef struct { uint8_t uuid[16]; ...; } libxl_uuid;

typedef enum {
    LIBXL_SHUTDOWN_REASON_UNKNOWN, LIBXL_SHUTDOWN_REASON_POWEROFF,
    LIBXL_SHUTDOWN_REASON_REBOOT, LIBXL_SHUTDOWN_REASON_SUSPEND,
    LIBXL_SHUTDOWN_REASON_CRASH, LIBXL_SHUTDOWN_REASON_WATCHDOG, ...
} libxl_shutdown_reason;

typedef enum {
    LIBXL_DOMAIN_TYPE_INVALID, LIBXL_DOMAIN_TYPE_HVM, LIBXL_DOMAIN_TYPE_PV, ...
} libxl_domain_type;

typedef struct {
    libxl_uuid uuid;
    uint32_t domid;
    bool running, blocked, paused, shutdown, dying;
    libxl_shutdown_reason shutdown_reason;
    uint64_t current_memkb, max_memkb, cpu_time;
    uint32_t vcpu_max_id, vcpu_online;
    libxl_domain_type domain_type;
    ...;
} libxl_dominfo;

typedef struct {
    int xen_version_major, xen_version_minor;
    char *xen_version_extra;
    char *capabilities;
    char *commandline;
    int pagesize;
    ...;
} libxl_version_info;

typedef struct {
    uint32_t threads_per_core, cores_per_socket, max_cpu_id, nr_cpus, cpu_khz;
    uint64_t total_pages, free_pages;
    uint32_t nr_nodes;
    ...;
} libxl_physinfo;

const libxl_version_info *libxl_get_version_info(libxl_ctx *);
int libxl_get_physinfo(libxl_ctx *, libxl_physinfo *);
libxl_dominfo *libxl_list_domain(libxl_ctx *, int *count);
void libxl_dominfo_list_free(libxl_dominfo *, int count);
int libxl_domain_info(libxl_ctx *, libxl_dominfo *, uint32_t domid);
void libxl_dominfo_init(libxl_dominfo *);
void libxl_dominfo_dispose(libxl_dominfo *);
char *libxl_domid_to_name(libxl_ctx *, uint32_t domid);
int libxl_domain_rename(libxl_ctx *, uint32_t domid, const char *from, const char *to);
void free(void *);

/* What libxl was compiled against. */
int pv_api_version(void);
int pv_stream_version(void);

/* A connection: a context with its logger and callbacks. */
pv_connection *pv_connect(void *handle, int level, int *rc);
void pv_disconnect(pv_connection *);
libxl_ctx *pv_context(pv_connection *);
void pv_log_from(pv_connection *, int level);

/* Configurations, as libxl's own JSON. */
libxl_domain_config *pv_config_read(libxl_ctx *, const char *json);
libxl_domain_config *pv_config_of(libxl_ctx *, uint32_t domid, int *rc);
char *pv_config_write(libxl_ctx *, libxl_domain_config *);
void pv_config_free(libxl_domain_config *);

/* What takes long: started here, ended in pv_wait with the same token. */
int pv_create(libxl_ctx *, libxl_domain_config *, uint32_t *domid, uint64_t token);
int pv_restore(libxl_ctx *, libxl_domain_config *, uint32_t *domid, int fd, uint32_t version,
               uint64_t token);
int pv_suspend(libxl_ctx *, uint32_t domid, int fd, int live, uint64_t token);
int pv_core_dump(libxl_ctx *, uint32_t domid, const char *path, uint64_t token);
int pv_wait(libxl_ctx *, uint64_t token, int *rc);
int pv_abort(libxl_ctx *, uint64_t token);

/* What does not. */
int pv_pause(libxl_ctx *, uint32_t domid);
int pv_unpause(libxl_ctx *, uint32_t domid);
int pv_resume(libxl_ctx *, uint32_t domid);
int pv_destroy(libxl_ctx *, uint32_t domid);
int pv_preserve(libxl_ctx *, uint32_t domid, const char *name, const char *suffix,
                const uint8_t *uuid);
int pv_shutdown(libxl_ctx *, uint32_t domid);
int pv_reboot(libxl_ctx *, uint32_t domid);
int pv_press(libxl_ctx *, uint32_t domid, int button);
int pv_set_memory(libxl_ctx *, uint32_t domid, uint64_t kib);
int pv_set_max_memory(libxl_ctx *, uint32_t domid, uint64_t kib);
int pv_set_vcpus(libxl_ctx *, uint32_t domid, int count);
int pv_need_memory(libxl_ctx *, libxl_domain_config *, uint64_t *kib);
int pv_free_memory(libxl_ctx *, uint64_t *kib);
int pv_wait_for_memory(libxl_ctx *, uint32_t domid, uint64_t kib, int seconds);
int pv_console(libxl_ctx *, uint32_t domid, int number, int serial, char **path);
int pv_device(libxl_ctx *, uint32_t domid, const char *kind, int add, const char *json);

/* What guests do of themselves. */
typedef struct { int kind; uint32_t domid; uint8_t uuid[16]; int reason; } pv_event;
int pv_watch(libxl_ctx *, uint32_t domid, void **watch);
void pv_unwatch(libxl_ctx *, void *watch);
int pv_next_event(libxl_ctx *, const int *fds, int count, pv_event *event);

extern "Python" void pv_log(void *handle, int level, int error, char *context, char *message);
extern "Python" void pv_progress(void *handle, char *what, unsigned long done,
                                 unsigned long total);
extern "Python" void pv_disaster(void *handle, char *message, int error);

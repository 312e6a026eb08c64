/* The streams: libxl stream version 2 around a libxc stream version 3 of a PV guest.
 *
 * Written after docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc
 * of Xen. A guest's count is in the first eight bytes of its page 0.
 */

#include "standin.h"

#include <endian.h>
#include <errno.h>
#include <unistd.h>

enum { END, PAGE_DATA, PV_INFO, P2M_FRAMES, VCPU_BASIC, VCPU_EXTENDED, VCPU_XSAVE, SHARED_INFO,
       TSC_INFO, STATIC_DATA_END = 0x10 };
#define BATCH 64
#define VCPU_CONTEXT 5168 /* struct vcpu_guest_context of a 64-bit guest */

static int put(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size) {
        ssize_t done = write(fd, at, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        at += done;
        size -= done;
    }
    return 0;
}

static int get(int fd, void *data, size_t size)
{
    char *at = data;

    while (size) {
        ssize_t done = read(fd, at, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        at += done;
        size -= done;
    }
    return 0;
}

static int put_record(int fd, uint32_t type, const void *body, uint32_t size)
{
    static const char zeros[8];
    uint32_t head[2] = { type, size };

    return put(fd, head, sizeof(head)) || put(fd, body, size)
        || put(fd, zeros, (8 - size % 8) % 8);
}

static int put_headers(int fd, uint32_t pages)
{
    struct { uint64_t id; uint32_t version, options; } libxl = {
        htobe64(0x4c6962786c466d74ull), htobe32(2), 0 };
    struct { uint64_t marker; uint32_t id, version; uint16_t options, a; uint32_t b; } image = {
        ~0ull, htobe32(0x58454e46), htobe32(3), 0, 0, 0 };
    struct { uint32_t type; uint16_t shift, a; uint32_t major, minor; } domain = {
        1, 12, 0, 4, 17 };
    uint8_t info[8] = { 8, 4 };
    uint32_t last = pages - 1, frames = last / 512 + 1, i;
    uint64_t *p2m = calloc(frames + 1, 8);
    int failed;

    ((uint32_t *)p2m)[1] = last;
    for (i = 0; i < frames; i++)
        p2m[1 + i] = pages - frames + i;
    failed = put(fd, &libxl, sizeof(libxl)) || put_record(fd, 1, NULL, 0)
        || put(fd, &image, sizeof(image)) || put(fd, &domain, sizeof(domain))
        || put_record(fd, PV_INFO, info, sizeof(info))
        || put_record(fd, STATIC_DATA_END, NULL, 0)
        || put_record(fd, P2M_FRAMES, p2m, 8 + 8 * frames);
    free(p2m);
    return failed;
}

static int put_pages(int fd, uint32_t first, uint32_t count, uint64_t number)
{
    size_t size = 8 + count * (8 + PAGE);
    char *body = calloc(1, size);
    uint64_t *pfns = (uint64_t *)(body + 8), *page;
    uint32_t i;
    int failed;

    *(uint32_t *)body = count;
    for (i = 0; i < count; i++) {
        pfns[i] = first + i;
        page = (uint64_t *)(body + 8 + 8 * count + (size_t)i * PAGE);
        page[0] = first + i ? (first + i) * 0x9e3779b97f4a7c15ull : number;
    }
    failed = put_record(fd, PAGE_DATA, body, size);
    free(body);
    return failed;
}

static int put_tail(int fd)
{
    char *context = calloc(1, 8 + VCPU_CONTEXT), extended[8 + 128] = { 0 }, shared[PAGE] = { 0 };
    char tsc[24] = { 0 };
    int failed = put_record(fd, TSC_INFO, tsc, sizeof(tsc))
        || put_record(fd, SHARED_INFO, shared, sizeof(shared))
        || put_record(fd, VCPU_BASIC, context, 8 + VCPU_CONTEXT)
        || put_record(fd, VCPU_EXTENDED, extended, sizeof(extended))
        || put_record(fd, END, NULL, 0)
        || put_record(fd, END, NULL, 0);

    free(context);
    return failed;
}

/* Ask the guest to suspend; as Xen's, it answers only while it runs. */
static int suspend(libxl_ctx *ctx, uint32_t domid, uint64_t *count, volatile bool *aborted)
{
    int tries, rc = ERROR_GUEST_TIMEDOUT;

    for (tries = 0; rc == ERROR_GUEST_TIMEDOUT && tries < 500 && !*aborted; tries++) {
        struct guest *guest;

        standin_lock(ctx);
        guest = standin_find(ctx, domid);
        if (!guest || (guest->shut && guest->reason != LIBXL_SHUTDOWN_REASON_SUSPEND)) {
            rc = ERROR_FAIL;
        } else if (!guest->paused) {
            standin_stop(ctx, guest);
            guest->shut = true;
            guest->reason = LIBXL_SHUTDOWN_REASON_SUSPEND;
            *count = guest->count;
            rc = 0;
        }
        standin_unlock(ctx);
        if (rc == ERROR_GUEST_TIMEDOUT)
            usleep(2000);
    }
    if (rc == ERROR_GUEST_TIMEDOUT)
        standin_say(ctx, XTL_ERROR, "guest didn't acknowledge suspend");
    return *aborted && rc ? ERROR_ABORTED : rc;
}

int standin_write_stream(libxl_ctx *ctx, uint32_t domid, int fd, int live, volatile bool *aborted)
{
    uint32_t pages, first;
    uint64_t count = 0;
    struct guest *guest;
    int delay = standin_fault(ctx, "delay"), rc;

    standin_lock(ctx);
    guest = standin_find(ctx, domid);
    pages = guest ? guest->memory / 4 : 0;
    if (guest)
        count = guest->count;
    standin_unlock(ctx);
    if (!pages)
        return ERROR_DOMAIN_NOTFOUND;
    if (!live && (rc = suspend(ctx, domid, &count, aborted)))
        return rc;
    if (put_headers(fd, pages))
        goto broken;
    for (first = 0; first < pages; first += BATCH) {
        uint32_t some = pages - first < BATCH ? pages - first : BATCH;

        if (*aborted)
            return ERROR_ABORTED;
        if (put_pages(fd, first, some, count))
            goto broken;
        standin_report(ctx, first + some, pages);
        if (delay)
            usleep(delay);
    }
    rc = standin_fault(ctx, "stream");
    if (rc)
        return rc;
    if (live && ((rc = suspend(ctx, domid, &count, aborted)) != 0))
        return rc;
    if (live && put_pages(fd, 0, 1, count))
        goto broken;
    if (put_tail(fd))
        goto broken;
    return 0;
broken:
    standin_say(ctx, XTL_ERROR, "cannot write the stream: %s", strerror(errno));
    return ERROR_FAIL;
}

int standin_read_stream(libxl_ctx *ctx, int fd, uint64_t *count)
{
    char heads[16 + 8 + 24 + 16];
    uint32_t head[2];
    int inner = 1, delay = standin_fault(ctx, "delay");

    if (get(fd, heads, sizeof(heads)) || *(uint64_t *)heads != htobe64(0x4c6962786c466d74ull)
        || (*(uint32_t *)(heads + 36) != htobe32(2)
            && *(uint32_t *)(heads + 36) != htobe32(3))) {
        standin_say(ctx, XTL_ERROR, "this is no stream of migration V2");
        return ERROR_FAIL;
    }
    for (;;) {
        size_t size;
        char *body;

        if (delay)
            usleep(delay);
        if (get(fd, head, sizeof(head)) || head[1] > (128u << 20))
            break;
        size = (head[1] + 7) & ~7u;
        body = malloc(size + 8);
        if (get(fd, body, size)) {
            free(body);
            break;
        }
        if (head[0] == PAGE_DATA && *(uint64_t *)(body + 8) == 0)
            *count = *(uint64_t *)(body + 8 + 8 * *(uint32_t *)body);
        free(body);
        if (head[0] == END) {
            if (!inner)
                return 0;
            inner = 0;
        }
    }
    standin_say(ctx, XTL_ERROR, "the stream ends early");
    return ERROR_FAIL;
}

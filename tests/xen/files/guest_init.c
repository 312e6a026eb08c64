/* The only program of the guests: counts aloud on the console, four times a second, and says
 * which devices have come and gone. Without a C library, so that the initial ramdisk is small. */

static long call(long number, long a, long b, long c)
{
    register long fourth asm("r10") = 0, fifth asm("r8") = 0; /* of mount */
    long result;

    asm volatile("syscall" : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                 : "rcx", "r11", "memory");
    return result;
}

/* asm/unistd_64.h */
enum {
    READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, LSEEK = 8, ACCESS = 21, DUP2 = 33, NANOSLEEP = 35,
    MOUNT = 165, FINIT_MODULE = 313
};

static void say(const char *text)
{
    long length = 0;

    while (text[length])
        length++;
    call(WRITE, 1, (long)text, length);
}

static void say_number(unsigned long number)
{
    char digits[24];
    int at = 23;

    digits[at] = 0;
    do {
        digits[--at] = '0' + number % 10;
        number /= 10;
    } while (number);
    say(digits + at);
}

/* A device: where it shows, what is said of it, and, of a disk, what is written to it. */
struct device { const char *path, *contents, *name; int disk, there; };

static struct device devices[] = {
    { "/sys/block/xvdb", "/dev/xvdb", "DISK xvdb ", 1, 0 },
    { "/sys/block/xvdc", "/dev/xvdc", "DISK xvdc ", 1, 0 },
    { "/sys/class/net/eth0", "/sys/class/net/eth0/address", "NET eth0 ", 0, 0 },
    { "/sys/bus/pci/devices/0000:00:00.0", "/sys/bus/pci/devices/0000:00:00.0/vendor",
      "PCI 0 ", 0, 0 },
};

static char sector[512] = "written by the guest";

static void look(struct device *device)
{
    int there = call(ACCESS, (long)device->path, 0, 0) == 0;
    char text[20] = "gone\n";
    long file, i;

    if (there == device->there)
        return;
    if (there) {
        file = call(OPEN, (long)device->contents, device->disk ? 2 : 0, 0);
        if (file < 0)
            return; /* not yet */
        for (i = 0; i < 20; i++)
            text[i] = 0;
        call(READ, file, (long)text, 17); /* as long as an Ethernet address */
        for (i = 0; text[i] && text[i] != '\n'; i++)
            ;
        text[i] = '\n';
        text[i + 1] = 0;
        if (device->disk) {
            call(LSEEK, file, 512, 0);
            call(WRITE, file, (long)sector, sizeof(sector));
        }
        call(CLOSE, file, 0, 0);
    }
    device->there = there;
    say(device->name);
    say(text);
}

void _start(void)
{
    struct { long seconds, nanoseconds; } quarter = { 0, 250000000 };
    char module[] = "/modules/0";
    unsigned long count, i;
    long console;

    call(MOUNT, (long)"dev", (long)"/dev", (long)"devtmpfs");
    call(MOUNT, (long)"sys", (long)"/sys", (long)"sysfs");
    console = call(OPEN, (long)"/dev/hvc0", 2, 0);
    if (console < 0)
        console = call(OPEN, (long)"/dev/console", 2, 0);
    call(DUP2, console, 1, 0);
    for (; module[9] <= '9'; module[9]++) {
        long file = call(OPEN, (long)module, 0, 0);

        if (file < 0)
            break;
        call(FINIT_MODULE, file, (long)"", 0);
        call(CLOSE, file, 0, 0);
    }
    for (count = 1;; count++) {
        say("TICK ");
        say_number(count);
        say("\n");
        for (i = 0; i < sizeof(devices) / sizeof(*devices); i++)
            look(devices + i);
        call(NANOSLEEP, (long)&quarter, 0, 0);
    }
}

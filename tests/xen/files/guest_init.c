/* The only program of the guests: counts aloud on the console, four times a second.
 * Without a C library, so that the initial ramdisk is a few kilobytes. */

static long call(long number, long a, long b, long c)
{
    long result;

    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                 : "rcx", "r11", "memory");
    return result;
}

enum { WRITE = 1, OPEN = 2, DUP2 = 33, NANOSLEEP = 35, MOUNT = 165 }; /* asm/unistd_64.h */

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

void _start(void)
{
    struct { long seconds, nanoseconds; } quarter = { 0, 250000000 };
    unsigned long count;
    long console;

    asm volatile("xor %%r10d, %%r10d; xor %%r8d, %%r8d" ::: "r10", "r8");
    call(MOUNT, (long)"dev", (long)"/dev", (long)"devtmpfs");
    console = call(OPEN, (long)"/dev/hvc0", 2, 0);
    if (console < 0)
        console = call(OPEN, (long)"/dev/console", 2, 0);
    call(DUP2, console, 1, 0);
    for (count = 1;; count++) {
        say("TICK ");
        say_number(count);
        say("\n");
        call(NANOSLEEP, (long)&quarter, 0, 0);
    }
}

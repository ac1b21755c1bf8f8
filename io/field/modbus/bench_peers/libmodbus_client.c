/* libmodbus as the peer of the poller: reads registers of many devices one after the other, blocking.
 *
 * libmodbus_client COUNT PORT REGISTERS
 *   Connects to the devices of many_devices, prints "ready". On each line "ROUNDS" of standard input it reads all devices
 *   ROUNDS times and prints: reads, processor time in ns, wall time in ns. Ends with its standard input.
 */
#define _GNU_SOURCE
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long ns(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    int count = atoi(argv[1]), port = atoi(argv[2]), registers = atoi(argv[3]);
    modbus_t **devices = calloc((size_t)count, sizeof *devices);
    for (int k = 0; k < count; k++) {
        char address[32];
        snprintf(address, sizeof address, "127.1.%d.%d", k / 250, 1 + k % 250);
        devices[k] = modbus_new_tcp(address, port);
        if (devices[k] == NULL || modbus_set_slave(devices[k], 1) || modbus_connect(devices[k])) {
            perror(address);
            return 1;
        }
    }
    puts("ready");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int rounds = atoi(line);
        uint16_t words[125];
        long long cpu = ns(CLOCK_PROCESS_CPUTIME_ID), wall = ns(CLOCK_MONOTONIC), reads = 0;
        for (int r = 0; r < rounds; r++)
            for (int k = 0; k < count; k++) {
                if (modbus_read_registers(devices[k], 0, registers, words) != registers || words[0] != (uint16_t)k) return 1;
                reads++;
            }
        printf("%lld %lld %lld\n", reads, ns(CLOCK_PROCESS_CPUTIME_ID) - cpu, ns(CLOCK_MONOTONIC) - wall);
        fflush(stdout);
    }
    return 0;
}

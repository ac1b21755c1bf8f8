/* A Modbus TCP device made of libmodbus: serves the registers of a file on a free loopback port.
 *
 * libmodbus_device IMAGE BASE
 *   IMAGE  file of big-endian registers
 *   BASE   address of the first one
 * Prints the port, then serves one connection after the other until its standard input ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static modbus_mapping_t *load(const char *path, int base)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    unsigned char bytes[2];
    uint16_t words[65536];
    int n = 0;
    while (n < 65536 && fread(bytes, 1, 2, file) == 2) words[n++] = (uint16_t)(bytes[0] << 8 | bytes[1]);
    fclose(file);
    modbus_mapping_t *mapping = modbus_mapping_new_start_address(0, 0, 0, 0, base, n, 0, 0);
    if (mapping != NULL) memcpy(mapping->tab_registers, words, (size_t)n * sizeof words[0]);
    return mapping;
}

static int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4)) return -1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* 1 when fd is readable, 0 when standard input ended first. */
static int wait_for(int fd)
{
    struct pollfd both[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (poll(both, 2, -1) < 0 && errno == EINTR) {}
    return both[1].revents == 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    modbus_mapping_t *mapping = load(argv[1], atoi(argv[2]));
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    int listener = listen_on_loopback();
    if (mapping == NULL || context == NULL || listener < 0) {
        perror(argv[1]);
        return 1;
    }
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    while (wait_for(listener)) {
        if (modbus_tcp_accept(context, &listener) < 0) continue;
        while (wait_for(modbus_get_socket(context))) {
            int size = modbus_receive(context, query);
            if (size < 0) break;
            if (size > 0) modbus_reply(context, query, size, mapping);
        }
        modbus_close(context);
    }
    modbus_mapping_free(mapping);
    modbus_free(context);
    return 0;
}

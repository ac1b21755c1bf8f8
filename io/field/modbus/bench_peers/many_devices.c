/* Many Modbus TCP devices in one process, for measurements: an epoll loop over listeners on 127.1.x.y.
 *
 * many_devices COUNT PORT
 *   Device k listens on 127.1.(k / 250).(1 + k % 250):PORT and holds registers whose value is their address plus k.
 *   Registers 1000 to 1127 keep what is written to them.
 * Prints "ready"; then, for each line of standard input, one line:
 *   w      the number of function 16 requests answered so far
 *   m A B  devices A to B - 1 swallow what they are asked ("muted")
 *   s      all devices speak again ("speaking")
 * Ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEVICES_MAX = 4096, FD_MAX = 20000, FRAME_MAX = 260 };

static struct { int device, listener, n; uint8_t buffer[1024]; } of[FD_MAX];
static uint16_t written[DEVICES_MAX][128]; /* registers 1000…1127 keep what is written to them */
static long writes;
static int muted_from, muted_to;

static void watch(int ep, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

static int listen_as(int ep, int k, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(0x7F010000u + (uint32_t)(k / 250) * 256 + 1 + (uint32_t)(k % 250));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || fd >= FD_MAX || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16)) return -1;
    of[fd].device = k;
    of[fd].listener = 1;
    watch(ep, fd);
    return 0;
}

static uint16_t value(int k, int address)
{
    return address >= 1000 && address < 1128 ? written[k][address - 1000] : (uint16_t)(address + k);
}

static int answer(int k, const uint8_t *ask, uint8_t *reply)
{
    int address = ask[8] << 8 | ask[9], count = ask[10] << 8 | ask[11], body = 0;
    memcpy(reply, ask, 8);
    if (ask[7] == 3 && count >= 1 && count <= 125) {
        reply[8] = (uint8_t)(2 * count);
        for (int i = 0; i < count; i++) {
            uint16_t word = value(k, address + i);
            reply[9 + 2 * i] = (uint8_t)(word >> 8);
            reply[10 + 2 * i] = (uint8_t)word;
        }
        body = 1 + 2 * count;
    } else if (ask[7] == 16 && address >= 1000 && address + count <= 1128) {
        for (int i = 0; i < count; i++) written[k][address - 1000 + i] = (uint16_t)(ask[13 + 2 * i] << 8 | ask[14 + 2 * i]);
        memcpy(reply + 8, ask + 8, 4);
        body = 4;
        writes++;
    } else {
        reply[7] |= 0x80;
        reply[8] = 2;
        body = 1;
    }
    reply[4] = (uint8_t)((body + 2) >> 8);
    reply[5] = (uint8_t)(body + 2);
    return 8 + body;
}

static void serve(int ep, int fd)
{
    if (of[fd].listener) {
        int one = 1, peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer < 0) return;
        if (peer >= FD_MAX) { close(peer); return; }
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        of[peer].device = of[fd].device;
        of[peer].listener = of[peer].n = 0;
        watch(ep, peer);
        return;
    }
    ssize_t n = recv(fd, of[fd].buffer + of[fd].n, sizeof of[fd].buffer - (size_t)of[fd].n, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) close(fd);
        return;
    }
    if (of[fd].device >= muted_from && of[fd].device < muted_to) return;
    of[fd].n += (int)n;
    int at = 0;
    while (of[fd].n - at >= 12) {
        const uint8_t *ask = of[fd].buffer + at;
        int size = 6 + (ask[4] << 8 | ask[5]);
        if (size > FRAME_MAX || size < 12) { close(fd); return; }
        if (of[fd].n - at < size) break;
        uint8_t reply[FRAME_MAX];
        int m = answer(of[fd].device, ask, reply);
        if (send(fd, reply, (size_t)m, MSG_NOSIGNAL) != m) { close(fd); return; }
        at += size;
    }
    of[fd].n -= at;
    memmove(of[fd].buffer, of[fd].buffer + at, (size_t)of[fd].n);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    int count = atoi(argv[1]), port = atoi(argv[2]), ep = epoll_create1(EPOLL_CLOEXEC);
    if (count < 1 || count > DEVICES_MAX || ep < 0) return 2;
    for (int k = 0; k < count; k++)
        if (listen_as(ep, k, port)) { perror("listen"); return 1; }
    watch(ep, STDIN_FILENO);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[128];
        int n = epoll_wait(ep, events, 128, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == STDIN_FILENO) {
                char line[64] = {0};
                if (read(STDIN_FILENO, line, sizeof line - 1) <= 0) return 0;
                if (line[0] == 's') { muted_from = muted_to = 0; puts("speaking"); }
                else if (line[0] == 'm' && sscanf(line + 1, "%d %d", &muted_from, &muted_to) == 2) puts("muted");
                else printf("%ld\n", writes);
                fflush(stdout);
            } else {
                serve(ep, events[i].data.fd);
            }
        }
    }
}

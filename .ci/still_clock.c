// A clock that stands still, to be loaded before libc: under callgrind a program runs fifty times slower than its clock,
// and what it does by the time, such as ending a connection's turn, would be counted with the rest.
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  (void)clock;
  now->tv_sec = 1800000000;
  now->tv_nsec = 0;
  return 0;
}

// Starting a thread so that it runs beside its caller.
//
// Linux puts a new thread on the caller's own processor where it takes the others for busy, and in
// a virtual machine it does so for idle ones whose host has put them to sleep: the thread then
// waits until its caller does. (Measured on two such processors: 2 of 5 new threads began when the
// caller's 300 us of work were over; asked away, all but 1 of 300 within 50 us, also with another
// process on the other processor.) So the thread is asked away from where the caller is, and may
// then go anywhere.
#pragma once
#include <thread>
#include <utility>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace shoal {

// Runs work() in a new thread; throws where the machine gives no more threads.
template <class Work>
std::thread start_thread(Work&& work) {
  std::thread thread(std::forward<Work>(work));
#if defined(__linux__)
  cpu_set_t all;  // only a wish: systems with more processors than a set holds refuse it
  const int here = sched_getcpu();
  if (here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof all, &all) == 0) {
    cpu_set_t others = all;
    CPU_CLR(static_cast<size_t>(here), &others);
    const auto handle = thread.native_handle();
    if (CPU_COUNT(&others) > 0 && pthread_setaffinity_np(handle, sizeof others, &others) == 0)
      pthread_setaffinity_np(handle, sizeof all, &all);
  }
#endif
  return thread;
}

}  // namespace shoal

// Lets other threads of Python run while the core works, as nb::gil_scoped_release does.
//
// Where the interpreter ends meanwhile, a daemon thread that asks for the lock again is ended,
// before Python 3.14, by pthread_exit, which unwinds its stack as an exception does; a destructor
// on the way ends the process (std::terminate). Such a thread waits here instead until the process
// is gone, as it does since Python 3.14.
#pragma once
#include <nanobind/nanobind.h>

#include <chrono>
#include <thread>

namespace shoal {

class Release {
 public:
  Release() : state_(PyEval_SaveThread()) {}
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;
  ~Release() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

 private:
  PyThreadState* state_;
};

}  // namespace shoal

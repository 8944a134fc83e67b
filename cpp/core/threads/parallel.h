// Threads for the length of one call. Work is cut into fixed items taken in dynamic order, so a
// slow neighbour on a shared machine costs one item, and results may depend on items, never on
// threads. Nothing survives the call: safe after fork and inside other thread pools.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "core/threads/thread.h"

namespace shoal {

// Calls work(item, worker) for every item in [0, items), with worker in [0, threads).
template <class Work>
void parallel_for(int64_t items, int threads, const Work& work) {
  if (threads > items) threads = static_cast<int>(items);
  if (threads <= 1) {
    for (int64_t item = 0; item < items; ++item) work(item, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  auto run = [&](int worker) {
    try {
      for (int64_t item; (item = next.fetch_add(1)) < items;) work(item, worker);
    } catch (...) {
      std::lock_guard<std::mutex> lock(error_mutex);
      error = std::current_exception();
      next = items;
    }
  };
  std::vector<std::thread> pool;
  pool.reserve(threads - 1);
  for (int worker = 1; worker < threads; ++worker) {
    try {
      pool.push_back(start_thread([&run, worker] { run(worker); }));
    } catch (...) {
      break;  // The machine gives no more threads: those already running do all the items.
    }
  }
  run(0);
  for (auto& thread : pool) thread.join();
  if (error) std::rethrow_exception(error);
}

// Threads worth starting for `cost` elementary operations (a start costs about 20 us).
inline int useful_threads(int threads, double cost) {
  const double most = cost / 2e5;
  return most < 1 ? 1 : (most < threads ? static_cast<int>(most) : threads);
}

}  // namespace shoal

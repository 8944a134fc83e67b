// Threads for several parallel loops in a row. Starting a thread costs about 30 us, more where a
// processor has to be woken; a team is started once per call, and between two loops its helpers
// watch for the next for a moment before they sleep. Each worker takes the items of its own part
// first, the same in each loop, so that what it worked on may still be in its cache; then it takes
// those that others have left. Nothing survives the call. A helper that comes late is not waited
// for.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "core/threads/thread.h"

namespace shoal {

class Team {
 public:
  explicit Team(int threads) : parts_(threads) {
    pool_.reserve(parts_.size());
    for (int worker = 1; worker < threads; ++worker) {
      try {
        pool_.push_back(start_thread([this, worker] { help(worker); }));
      } catch (...) {
        break;  // The machine gives no more threads.
      }
    }
  }
  ~Team() {
    state_.store(kEnd);
    state_.notify_all();
    for (auto& thread : pool_) thread.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Threads it has, the caller's included.
  int size() const { return static_cast<int>(parts_.size()); }

  // Calls work(item, worker) for every item in [0, items), with worker in [0, threads).
  template <class Work>
  void run(int64_t items, const Work& work) {
    call_ = [](const void* what, int64_t item, int worker) {
      (*static_cast<const Work*>(what))(item, worker);
    };
    work_ = &work;
    const auto count = static_cast<int64_t>(parts_.size());
    for (int64_t part = 0; part < count; ++part) {
      parts_[part].next.store(items * part / count, std::memory_order_relaxed);
      parts_[part].end = items * (part + 1) / count;
    }
    error_ = nullptr;
    if (!pool_.empty() && items > 1) {
      state_.store((state_.load() & ~kInside) + kNextLoop + kOpen);
      state_.notify_all();
    }
    take_items(0);
    state_.fetch_and(~kOpen);
    while ((state_.load() & kInside) != 0) relax();  // helpers finish their last item
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // The state: a number for each loop, whether it is open, and how many helpers are inside.
  static constexpr uint64_t kInside = 0xffff, kOpen = 1u << 16, kEnd = 1u << 17;
  static constexpr uint64_t kNextLoop = uint64_t{1} << 32;
  static constexpr int kWatch = 2000;  // looks before a helper sleeps: some 50 us

  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
  }

  void take_items(int worker) {
    try {
      for (size_t offset = 0; offset < parts_.size(); ++offset) {
        Part& part = parts_[(static_cast<size_t>(worker) + offset) % parts_.size()];
        for (int64_t item; (item = part.next.fetch_add(1)) < part.end;) call_(work_, item, worker);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(error_mutex_);
      error_ = std::current_exception();
      for (Part& part : parts_) part.next = part.end;
    }
  }

  void help(int worker) {
    uint64_t done = 0;  // the loop that was seen last
    for (int looks = 0;;) {
      uint64_t state = state_.load();
      if ((state & kEnd) != 0) return;
      if ((state & kOpen) != 0 && state / kNextLoop != done) {
        if (!state_.compare_exchange_weak(state, state + 1)) continue;
        done = state / kNextLoop;
        take_items(worker);
        state_.fetch_sub(1);
        looks = 0;
      } else if (++looks < kWatch) {
        relax();
      } else {
        state_.wait(state);
      }
    }
  }

  struct alignas(128) Part {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::vector<Part> parts_;  // of the items, one for each worker
  std::vector<std::thread> pool_;
  void (*call_)(const void*, int64_t, int) = nullptr;
  const void* work_ = nullptr;
  std::exception_ptr error_;
  std::mutex error_mutex_;
  alignas(64) std::atomic<uint64_t> state_{0};
};

// The same with a team, or on the caller's thread alone.
template <class Work>
void run_with(Team* team, int64_t items, const Work& work) {
  if (team != nullptr) {
    team->run(items, work);
    return;
  }
  for (int64_t item = 0; item < items; ++item) work(item, 0);
}

}  // namespace shoal

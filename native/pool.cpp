// Threads that stay: they spin for a moment after a task and then sleep. One region at a time; a second caller
// (another Python thread) runs its own tasks itself. Survives fork: a child starts threads of its own.
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "lanes.h"

namespace striate {
namespace {

constexpr int SPINS = 20000;

// Numbers below 1e-38 count as 0 while the executor runs: a decaying momentum would otherwise pass through them, at
// a hundred cycles each.
struct FlushToZero {
#if defined(__x86_64__)
  unsigned before = __builtin_ia32_stmxcsr();
  FlushToZero() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~FlushToZero() { __builtin_ia32_ldmxcsr(before); }
#endif
};

struct Region {
  Task task = nullptr;
  void* context = nullptr;
  int64_t tasks = 0, helpers = 0;
  bool fixed = false;  // task i belongs to thread i
  std::atomic<int64_t> next{0}, left{0};
};

struct Pool {
  std::mutex busy, sleeping;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  Region region;
  std::atomic<uint64_t> generation{0};
  std::atomic<bool> ending{false};
  pid_t owner = getpid();

  void work(int64_t id, uint64_t seen) {
    const FlushToZero flush;
    for (;;) {
      int spins = 0;
      while (generation.load(std::memory_order_acquire) == seen && !ending.load()) {
        if (++spins < SPINS) {
#if defined(__x86_64__)
          __builtin_ia32_pause();
#endif
          continue;
        }
        std::unique_lock<std::mutex> lock(sleeping);
        wake.wait(lock, [&] { return generation.load() != seen || ending.load(); });
      }
      if (ending.load()) return;
      seen = generation.load(std::memory_order_acquire);
      if (id <= region.helpers) drain(id);
      region.left.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void drain(int64_t id) {
    if (region.fixed) {
      region.task(id, id, region.context);
      return;
    }
    for (int64_t i; (i = region.next.fetch_add(1, std::memory_order_relaxed)) < region.tasks;)
      region.task(i, id, region.context);
  }

  void run(int64_t tasks, int64_t helpers, Task task, void* context, bool fixed) {
    while (static_cast<int64_t>(threads.size()) < helpers) {
      const auto id = static_cast<int64_t>(threads.size()) + 1;
      threads.emplace_back([this, id, seen = generation.load()] { work(id, seen); });
    }
    region.task = task;
    region.context = context;
    region.tasks = tasks;
    region.helpers = helpers;
    region.fixed = fixed;
    region.next.store(0);
    region.left.store(static_cast<int64_t>(threads.size()));
    {
      std::lock_guard<std::mutex> lock(sleeping);
      generation.fetch_add(1, std::memory_order_acq_rel);
    }
    wake.notify_all();
    drain(0);
    while (region.left.load(std::memory_order_acquire) > 0) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }

  ~Pool() {
    if (owner != getpid()) {
      for (auto& thread : threads) thread.detach();
      return;
    }
    {
      std::lock_guard<std::mutex> lock(sleeping);
      ending.store(true);
    }
    wake.notify_all();
    for (auto& thread : threads) thread.join();
  }
};

Pool* current = nullptr;
std::mutex making;

Pool& pool() {
  std::lock_guard<std::mutex> lock(making);
  // After a fork the parent's threads do not exist here; its pool is left behind untouched.
  if (!current || current->owner != getpid()) current = new Pool;
  return *current;
}

struct AtExit {
  ~AtExit() {
    if (current && current->owner == getpid()) delete current;
  }
} at_exit;

}  // namespace

static void start(int64_t tasks, int64_t helpers, Task task, void* context, bool fixed) {
  const FlushToZero flush;
  if (helpers > 0) {
    Pool& shared = pool();
    std::unique_lock<std::mutex> mine(shared.busy, std::try_to_lock);
    if (mine.owns_lock()) {
      shared.run(tasks, helpers, task, context, fixed);
      return;
    }
  }
  for (int64_t i = 0; i < tasks; ++i) task(i, 0, context);
}

void parallel(int64_t tasks, int64_t threads, Task task, void* context) {
  start(tasks, (threads < tasks ? threads : tasks) - 1, task, context, false);
}

void on_each(int64_t threads, Task task, void* context) { start(threads, threads - 1, task, context, true); }

}  // namespace striate

// Threads that stay. A region is cut into tasks; its caller invites workers and begins. Who takes an invitation up is waited
// for; one that is still asleep, or whose core another process has, is not: its invitation is withdrawn, and the others do
// its part. Several callers (Python threads) have regions at the same time and share the cores.
//
// Promises: every task is done once, on a thread whose number no other of its region has; no allocation and no exception in
// a region; a forked child has threads of its own; the process may end while a region runs, since nothing here is ever
// destroyed. Leaves out: more threads than the caller asked for, priorities, nested regions.
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "pool.h"

namespace striate {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// A woken thread begins after about 50 µs to 0.6 ms: so whoever has its core to itself spins for as long as that might cost.
constexpr microseconds PATIENCE{1000}, CROWDED_PATIENCE{20};
// Two looks at the clock this far apart: the core was another's meanwhile. Believed for a while.
constexpr microseconds GAP{300}, CROWDED_FOR{50000};
constexpr microseconds UNYIELDING{150};  // after this the core is offered to others between two looks; that costs a microsecond
constexpr int PAUSES = 64;               // between two looks at the clock: 1 to 4 µs

// Numbers below 1e-38 count as 0 while the executor runs: a decaying momentum would otherwise pass through them, at
// a hundred cycles each.
struct FlushToZero {
#if defined(__x86_64__)
  unsigned before = __builtin_ia32_stmxcsr();
  FlushToZero() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~FlushToZero() { __builtin_ia32_ldmxcsr(before); }
#endif
};

// ── waiting ──────────────────────────────────────────────────────────────────────────────────────

std::atomic<Clock::rep> crowded_until{0};

// Turns of a loop that waits for another thread, until sleeping is the better way to wait.
class Spin {
 public:
  // Whether to look again.
  bool again() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    return ++turns_ % PAUSES != 0 || in_time();
  }

 private:
  bool in_time() {
    if (last_ - began_ > UNYIELDING) sched_yield();
    const auto now = Clock::now();
    if (turns_ == PAUSES) began_ = last_ = now;
    const bool gap = now - last_ > GAP;
    if (gap) crowded_until.store((now + CROWDED_FOR).time_since_epoch().count(), std::memory_order_relaxed);
    last_ = now;
    const bool crowded = now.time_since_epoch().count() < crowded_until.load(std::memory_order_relaxed);
    return !gap && now - began_ < (crowded ? CROWDED_PATIENCE : PATIENCE);
  }

  int turns_ = 0;
  Clock::time_point began_, last_;
};

// std::atomic's own wait offers the core several times before it sleeps, which costs a slice of time each where another
// process wants it: Linux is asked directly.
void sleep_while(std::atomic<int>& bell, int value) {
#if defined(__linux__)
  static_assert(sizeof bell == 4);
  syscall(SYS_futex, &bell, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
  bell.wait(value);
#endif
}

void ring(std::atomic<int>& bell) {
  bell.fetch_add(1);
#if defined(__linux__)
  syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
#else
  bell.notify_all();
#endif
}

// ── workers and regions ──────────────────────────────────────────────────────────────────────────

// What a worker's `mail` says: one of these, or the address of a region, which is an invitation until RUNNING is added to
// it. Only the worker turns IDLE into ASLEEP and an invitation into RUNNING; only a caller turns IDLE or ASLEEP into RESERVED and
// that into an invitation; whoever is of the region withdraws it. Every step is one atomic exchange, so no worker comes late.
constexpr uintptr_t IDLE = 0, ASLEEP = 8, RESERVED = 16, RUNNING = 1, AWAITED = 2;  // AWAITED: the caller sleeps until the end
constexpr uintptr_t LEAST_ADDRESS = 64;

struct alignas(64) Worker {
  std::atomic<uintptr_t> mail{IDLE};
  int64_t place = 0;         // its number in the region it is invited to
  std::atomic<int> bell{0};  // rung for the worker that sleeps, or for the caller that sleeps until it has ended

  // Waits while `mail` is `value`, asleep at last; `asleep` is what `mail` says then.
  void wait_while(uintptr_t value, uintptr_t asleep) {
    for (Spin spin; spin.again();)
      if (mail.load(std::memory_order_acquire) != value) return;
    if (!mail.compare_exchange_strong(value, asleep)) return;
    for (int seen = bell.load(); mail.load() == asleep; seen = bell.load()) sleep_while(bell, seen);
  }

  // It is reserved: its caller writes the invitation.
  void wait_for_invitation() const {
    for (Spin spin; spin.again();)
      if (mail.load(std::memory_order_acquire) != RESERVED) return;
  }
};

struct alignas(LEAST_ADDRESS) Region {
  const Task task;
  void* const context;
  const int64_t tasks;
  const bool fixed;  // task i belongs to the worker whose place is i, if it comes
  int64_t helpers = 0;
  Worker* invited[MOST_THREADS];
  alignas(64) std::atomic<int64_t> next{0};

  Region(Task task, void* context, int64_t tasks, bool fixed) : task(task), context(context), tasks(tasks), fixed(fixed) {}

  uintptr_t address() const { return reinterpret_cast<uintptr_t>(this); }

  bool withdraw(Worker& worker) const {
    uintptr_t invitation = address();
    return worker.mail.load(std::memory_order_relaxed) == invitation && worker.mail.compare_exchange_strong(invitation, IDLE);
  }

  void take_part(int64_t place) {
    if (fixed) {
      task(place, place, context);
      for (int64_t i = 1; i <= helpers; ++i)
        if (withdraw(*invited[i - 1])) task(i, place, context);
    }
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) task(i, place, context);
  }

  // Reserves up to `wanted` of these workers, then invites them all: the list is complete when the first one reads it.
  void invite(Worker* workers, int64_t count, int64_t wanted) {
    bool sleeps[MOST_THREADS];
    for (int64_t i = 0; i < count && helpers < wanted; ++i) {
      uintptr_t found = workers[i].mail.load(std::memory_order_relaxed);
      if ((found != IDLE && found != ASLEEP) || !workers[i].mail.compare_exchange_strong(found, RESERVED)) continue;
      sleeps[helpers] = found == ASLEEP;
      invited[helpers++] = workers + i;
      workers[i].place = helpers;
    }
    if (fixed) next.store(helpers + 1, std::memory_order_relaxed);
    const int64_t all = helpers;
    for (int64_t i = 0; i < all; ++i) invited[i]->mail.store(address());
    for (int64_t i = 0; i < all; ++i)
      if (sleeps[i]) ring(invited[i]->bell);
  }

  // Waits for those who came.
  void finish() {
    for (int64_t i = 0; i < helpers; ++i)
      if (!withdraw(*invited[i])) invited[i]->wait_while(address() | RUNNING, address() | RUNNING | AWAITED);
  }
};

void live(Worker& self) {
  const FlushToZero flush;
  for (;;) {
    uintptr_t mail = self.mail.load(std::memory_order_acquire);
    if (mail < LEAST_ADDRESS) {
      if (mail == IDLE) self.wait_while(IDLE, ASLEEP);
      else self.wait_for_invitation();
      continue;
    }
    if (!self.mail.compare_exchange_strong(mail, mail | RUNNING)) continue;
    reinterpret_cast<Region*>(mail)->take_part(self.place);
    if (self.mail.exchange(IDLE) & AWAITED) ring(self.bell);
  }
}

// ── the pool ─────────────────────────────────────────────────────────────────────────────────────

struct Pool {
  const int64_t cores = std::thread::hardware_concurrency();
  std::atomic<int64_t> started{0}, visits{0};
  std::mutex starting;
  Clock::time_point retry{};  // after a refusal
  bool said = false;
  Worker workers[MOST_THREADS];

  // Starts threads until there are `wanted`; how many there are.
  int64_t grow(int64_t wanted) {
    const std::lock_guard<std::mutex> lock(starting);
    int64_t count = started.load();
    if (count >= wanted || Clock::now() < retry) return count;
    try {
      for (; count < wanted; started.store(++count)) std::thread(live, std::ref(workers[count])).detach();
    } catch (const std::system_error&) {
      retry = Clock::now() + std::chrono::seconds(1);
    }
    return count;
  }

  bool say_once() {
    const std::lock_guard<std::mutex> lock(starting);
    return !std::exchange(said, true);
  }

  // The threads of a region: as many as asked for, unless other calls want the cores too.
  int64_t fair(int64_t threads) const {
    const int64_t callers = visits.load(std::memory_order_relaxed);
    if (callers <= 1) return threads;
    const int64_t part = cores / callers;
    return part >= threads ? threads : part < 1 ? 1 : part;
  }
};

// Never destroyed: a daemon thread may be in a region when the process ends.
std::atomic<Pool*> current{nullptr};

// The parent's threads do not exist in a forked child; its pool is left behind untouched.
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, [] { current.store(nullptr); });

Pool& pool() {
  Pool* found = current.load(std::memory_order_acquire);
  if (found) return *found;
  auto* made = new Pool;
  if (current.compare_exchange_strong(found, made)) return *made;
  delete made;
  return *found;
}

void start(int64_t tasks, int64_t threads, Task task, void* context, bool fixed) {
  const FlushToZero flush;
  Pool* shared = threads > 1 ? current.load(std::memory_order_acquire) : nullptr;
  const int64_t helpers = shared ? shared->fair(threads) - 1 : 0;
  if (helpers < 1) {
    for (int64_t i = 0; i < tasks; ++i) task(i, 0, context);
    return;
  }
  Region region(task, context, tasks, fixed);
  region.invite(shared->workers, shared->started.load(std::memory_order_acquire), helpers);
  region.take_part(0);
  region.finish();
}

}  // namespace

Visit::Visit(int64_t threads) {
  Pool& shared = pool();
  pool_ = &shared;
  shared.visits.fetch_add(1, std::memory_order_relaxed);
  const int64_t wanted = (threads < MOST_THREADS ? threads : MOST_THREADS) - 1;
  if (wanted <= shared.started.load(std::memory_order_relaxed)) return;
  const int64_t got = shared.grow(wanted);
  if (got < wanted && shared.say_once()) refused_ = got + 1;
}

Visit::~Visit() { static_cast<Pool*>(pool_)->visits.fetch_sub(1, std::memory_order_relaxed); }

void parallel(int64_t tasks, int64_t threads, Task task, void* context) {
  start(tasks, threads < tasks ? threads : tasks, task, context, false);
}

void on_each(int64_t threads, Task task, void* context) { start(threads, threads, task, context, true); }

}  // namespace striate

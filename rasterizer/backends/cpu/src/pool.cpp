#include "pool.h"

#include <stdlib.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#if defined(_WIN32)
#include <malloc.h>
#include <process.h>
#else
#include <unistd.h>
#endif

namespace scene3d {
namespace {

int64_t process_id() {
#if defined(_WIN32)
    return _getpid();
#else
    return getpid();
#endif
}

// One batch of tasks. Workers that wake too late find it closed and go back to sleep.
struct Batch {
    TaskFunction function = nullptr;
    void *context = nullptr;
    int64_t count = 0;
    std::atomic<int64_t> next{0};

    void drain() {
        for (int64_t task = next.fetch_add(1); task < count; task = next.fetch_add(1)) function(context, task);
    }
};

// Workers are detached and sleep on a condition variable: a training process that renders now and then must not
// burn its cores in between, and a process may end without joining anything.
class Pool {
  public:
    Pool() : owner_(process_id()) {}

    bool belongs_here() const { return owner_ == process_id(); }

    void run(int num_threads, int64_t count, TaskFunction function, void *context) {
        std::lock_guard<std::mutex> one_call_at_a_time(call_mutex_);
        batch_.function = function;
        batch_.context = context;
        batch_.count = count;
        batch_.next.store(0);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(num_threads - 1);
            places_ = num_threads - 1;
            ++generation_;
        }
        wake_.notify_all();
        batch_.drain();
        std::unique_lock<std::mutex> lock(mutex_);
        places_ = 0;
        done_.wait(lock, [this] { return busy_ == 0; });
    }

  private:
    void grow(int num_workers) {
        for (; num_workers_ < num_workers; ++num_workers_) {
            try {
                std::thread([this] { work(); }).detach();
            } catch (const std::exception &) {
                return;  // the system gives no more threads; fewer do the same work
            }
        }
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (uint64_t seen = 0;;) {
            wake_.wait(lock, [&] { return generation_ != seen && places_ > 0; });
            seen = generation_;
            --places_;
            ++busy_;
            lock.unlock();
            batch_.drain();
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    const int64_t owner_;
    std::mutex call_mutex_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    Batch batch_;
    uint64_t generation_ = 0;
    int num_workers_ = 0;
    int places_ = 0;
    int busy_ = 0;
};

std::atomic<Pool *> current_pool{nullptr};

// Pools are never freed: after a fork the child has no worker threads and possibly a locked mutex, so it leaves the
// parent's pool behind and starts its own.
Pool &pool() {
    Pool *pool = current_pool.load();
    while (pool == nullptr || !pool->belongs_here()) {
        Pool *fresh = new Pool();
        if (current_pool.compare_exchange_strong(pool, fresh)) return *fresh;
        delete fresh;
    }
    return *pool;
}

constexpr size_t ALIGNMENT = 64;

}  // namespace

void run_tasks(int num_threads, int64_t count, TaskFunction function, void *context) {
    const int64_t useful = num_threads < count ? num_threads : count;
    if (useful > 1) {
        pool().run(static_cast<int>(useful), count, function, context);
        return;
    }
    for (int64_t task = 0; task < count; ++task) function(context, task);
}

void *allocate_bytes(size_t num_bytes) {
    const size_t rounded = (num_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    if (rounded < num_bytes) throw std::bad_alloc();
#if defined(_WIN32)
    void *memory = _aligned_malloc(rounded, ALIGNMENT);
#else
    void *memory = nullptr;
    if (posix_memalign(&memory, ALIGNMENT, rounded) != 0) memory = nullptr;
#endif
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void release_bytes(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

void throw_too_many_intersections() { throw TooManyIntersections(); }

}  // namespace scene3d

// Moves rows of [n, width] arrays into lanes and back, runs loops on the pool, owns scratch memory.
#pragma once

#include "pool.h"
#include "simd_double.h"

namespace SCENE3D_ISA_NS {

// As many row numbers as V has lanes; those behind `count` repeat the last one so that loads stay in bounds.
template <class V>
struct RowGroupOf {
    static constexpr int SIZE = VectorTraits<V>::COUNT;
    int64_t rows[SIZE];
    int count;

    static RowGroupOf consecutive(int64_t first, int64_t end) {
        RowGroupOf group;
        group.count = static_cast<int>(min_of<int64_t>(SIZE, end - first));
        for (int lane = 0; lane < SIZE; ++lane) group.rows[lane] = min_of<int64_t>(first + lane, end - 1);
        return group;
    }
    static RowGroupOf listed(const int32_t *list, int64_t available) {
        RowGroupOf group;
        group.count = static_cast<int>(min_of<int64_t>(SIZE, available));
        for (int lane = 0; lane < SIZE; ++lane) group.rows[lane] = list[min_of(lane, group.count - 1)];
        return group;
    }
};
typedef RowGroupOf<vfloat> RowGroup;

// Arrays are float; lanes may be double.
template <class V, int WIDTH>
S3D_INLINE void load_rows(const float *base, const RowGroupOf<V> &group, V (&values)[WIDTH]) {
    alignas(64) ScalarOf<V> staged[WIDTH][RowGroupOf<V>::SIZE];
    for (int lane = 0; lane < RowGroupOf<V>::SIZE; ++lane) {
        const float *row = base + group.rows[lane] * WIDTH;
        for (int k = 0; k < WIDTH; ++k) staged[k][lane] = row[k];
    }
    for (int k = 0; k < WIDTH; ++k) values[k] = load<V>(staged[k]);
}

template <class V, int WIDTH>
S3D_INLINE void store_rows(float *base, const RowGroupOf<V> &group, const V (&values)[WIDTH]) {
    alignas(64) ScalarOf<V> staged[WIDTH][RowGroupOf<V>::SIZE];
    for (int k = 0; k < WIDTH; ++k) store(staged[k], values[k]);
    for (int lane = 0; lane < group.count; ++lane) {
        float *row = base + group.rows[lane] * WIDTH;
        for (int k = 0; k < WIDTH; ++k) row[k] = static_cast<float>(staged[k][lane]);
    }
}

// Rows of [begin, end) that are not culled; `list` has room for all of them.
S3D_INLINE int64_t list_visible(const int32_t *radii, int64_t begin, int64_t end, int32_t *list) {
    int64_t count = 0;
    for (int64_t i = begin; i < end; ++i) {
        list[count] = static_cast<int32_t>(i);
        count += radii[i * 2] > 0;
    }
    return count;
}

template <class Body>
void parallel_for(int num_threads, int64_t count, const Body &body) {
    const auto call = [](void *context, int64_t task) { (*static_cast<const Body *>(context))(task); };
    scene3d::run_tasks(num_threads, count, call, const_cast<Body *>(&body));
}

// Calls body(chunk, begin, end) for consecutive chunks. The chunk size never depends on the number of threads, so
// that sums made per chunk do not either.
template <class Body>
void parallel_chunks(int num_threads, int64_t count, int64_t chunk_size, const Body &body) {
    parallel_for(num_threads, (count + chunk_size - 1) / chunk_size, [&](int64_t chunk) {
        const int64_t begin = chunk * chunk_size;
        body(chunk, begin, min_of(begin + chunk_size, count));
    });
}

template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t count) { resize(count); }
    ~Buffer() { release(); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    // Old contents are lost; new ones are not cleared.
    void resize(int64_t count) {
        release();
        if (count > 0) memory_ = static_cast<T *>(scene3d::allocate_bytes(static_cast<size_t>(count) * sizeof(T)));
    }
    void release() {
        if (memory_ != nullptr) scene3d::release_bytes(memory_);
        memory_ = nullptr;
    }
    T *get() const { return memory_; }
    T &operator[](int64_t i) const { return memory_[i]; }

  private:
    T *memory_ = nullptr;
};

constexpr int64_t GAUSSIANS_PER_TASK = 512;

}  // namespace SCENE3D_ISA_NS

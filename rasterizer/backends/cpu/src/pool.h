// Threads and memory for the kernels. Compiled once, for the lowest instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace scene3d {

typedef void (*TaskFunction)(void *context, int64_t task);

// Calls function(context, i) once for every i in [0, count), on up to num_threads threads of which the caller is one.
// Which thread runs which task is not defined; results may not depend on it. Calls from several threads queue up.
void run_tasks(int num_threads, int64_t count, TaskFunction function, void *context);

// Memory on a cache line's border, not cleared. Throws std::bad_alloc; only the calling thread of a kernel allocates.
void *allocate_bytes(size_t num_bytes);
void release_bytes(void *memory);

// Raised as S3D_TOO_MANY_INTERSECTIONS at the border of the library.
struct TooManyIntersections {};
[[noreturn]] void throw_too_many_intersections();

}  // namespace scene3d

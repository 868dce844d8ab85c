// The plain C structures that cross the library's border, one per operation; rasterizer/backends/cpu/library.py
// declares the same fields in the same order.
//
// All tensors are contiguous float32 unless said otherwise. A null gradient output means "not wanted", a null gradient
// input means "zero". Any change here is a change of S3D_ABI_VERSION.
#pragma once

#include <stdint.h>

#define S3D_ABI_VERSION 2

enum S3dStatus { S3D_OK = 0, S3D_OUT_OF_MEMORY = 1, S3D_TOO_MANY_INTERSECTIONS = 2, S3D_BAD_ARGUMENT = 3 };

// n Gaussians into c cameras.
struct S3dProject {
    int64_t num_gaussians;
    int32_t num_cameras, width, height, num_threads;
    float near_plane, far_plane, eps2d, radius_clip;
    const float *means, *quats, *scales, *opacities;  // [n,3] [n,4] wxyz [n,3] [n]
    const float *viewmats, *Ks;                       // [c,4,4] [c,3,3]
    float *means2d, *depths, *conics, *compensations; // [c,n,2] [c,n] [c,n,3] [c,n]
    int32_t *radii;                                   // [c,n,2], written forward, read backward
    const float *v_means2d, *v_depths, *v_conics, *v_compensations;
    float *v_means, *v_quats, *v_scales, *v_viewmats;
};

// Spherical harmonics [n,k,3] seen from c camera centres.
struct S3dShade {
    int64_t num_gaussians;
    int32_t num_cameras, sh_degree, num_bases, num_threads; // num_bases is k as stored, >= (sh_degree + 1)^2
    const float *means, *sh, *camera_centers;               // [n,3] [n,k,3] [c,3]
    const int32_t *radii;                                   // [c,n,2]
    float *colors;                                          // [c,n,3]
    const float *v_colors;
    float *v_means, *v_sh, *v_camera_centers;
};

struct S3dBlend {
    int64_t num_gaussians;
    int32_t num_cameras, width, height, num_channels, num_threads;
    const float *means2d, *conics, *colors, *opacities, *depths; // [c,n,2] [c,n,3] [c,n,d] [c,n] [c,n]
    const int32_t *radii;                                        // [c,n,2]
    const float *backgrounds;                                    // [c,d] or null
    float *image, *alphas;                                       // [c,h,w,d] [c,h,w]
    float *weight_sum, *weight_max, *median_depth;               // [c,n] [c,n] both or none; [c,h,w]
    const float *v_image, *v_alphas;
    float *v_means2d, *v_conics, *v_colors, *v_opacities, *v_backgrounds;
    float *v_means2d_abs; // [c,n,2]
};

// (1 - w) * L1 + w * (1 - SSIM) of two [h,w,ch] images over the pixels of an optional [h,w] byte mask.
struct S3dL1Ssim {
    int32_t width, height, num_channels, num_threads;
    float ssim_weight;
    const float *rendered, *target;
    const uint8_t *mask;
    double *loss;
    float *v_rendered; // null: value only
};

// One Adam step on [rows, row_size] tensors; rows whose byte mask is zero are left alone.
struct S3dAdam {
    int64_t num_rows, row_size, num_corrections;
    int32_t num_threads;
    float beta1, beta2, eps;
    const float *rates, *decays;               // [row_size]: step size and decoupled weight decay of each column
    const float *row_steps;                    // [rows]: how often each row was stepped, this step included
    const float *corrections1, *corrections2;  // [num_corrections]: bias corrections after t steps, the last for all t beyond
    float *params, *exp_avg, *exp_avg_sq;
    const float *grads;
    const uint8_t *mask;
};

// What blend forward leaves for blend backward.
struct S3dBlendState;

// One instruction set's kernels.
struct S3dKernels {
    int32_t lanes;
    void (*project_forward)(const S3dProject &);
    void (*project_backward)(const S3dProject &);
    void (*shade_forward)(const S3dShade &);
    void (*shade_backward)(const S3dShade &);
    S3dBlendState *(*blend_forward)(const S3dBlend &, bool keep_state);
    void (*blend_backward)(const S3dBlend &, const S3dBlendState *);
    void (*blend_free)(S3dBlendState *);
    void (*l1_ssim)(const S3dL1Ssim &);
    void (*adam_step)(const S3dAdam &);
};

// The geometry that projection and its gradient share: a Gaussian as three camera-space axes, seen through one camera.
//
// V is the vector it is computed in: of float for the projection, of double for its gradient.
#pragma once

#include "abi.h"
#include "rows.h"

namespace SCENE3D_ISA_NS {

constexpr float OPACITY_MIN = 1.0f / 255.0f;
// Local affine projection is only trusted this much of the half field of view outside the image (Zwicker et al. 2001,
// eq. 29, with the clamp every 3DGS implementation has).
constexpr double FRUSTUM_SLACK = 0.3;

template <class V>
struct Vec3 {
    V x, y, z;
};
template <class V>
S3D_INLINE V dot(const Vec3<V> &a, const Vec3<V> &b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <class V>
S3D_INLINE Vec3<V> cross(const Vec3<V> &a, const Vec3<V> &b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class V>
S3D_INLINE Vec3<V> operator+(const Vec3<V> &a, const Vec3<V> &b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
template <class V>
S3D_INLINE Vec3<V> operator*(V s, const Vec3<V> &a) { return {s * a.x, s * a.y, s * a.z}; }

template <class V>
struct CameraLanes {
    typedef ScalarOf<V> Scalar;
    Scalar rotation[3][3];
    Scalar translation[3];
    Scalar fx, fy, cx, cy;
    Scalar x_low, x_high, y_low, y_high; // bounds of x/z and y/z inside the affine approximation

    CameraLanes(const float *viewmat, const float *K, int width, int height) {
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 3; ++j) rotation[i][j] = viewmat[i * 4 + j];
            translation[i] = viewmat[i * 4 + 3];
        }
        fx = K[0], fy = K[4], cx = K[2], cy = K[5];
        const Scalar slack_x = Scalar(FRUSTUM_SLACK / 2) * width / fx;
        const Scalar slack_y = Scalar(FRUSTUM_SLACK / 2) * height / fy;
        x_low = -(cx / fx + slack_x), x_high = (width - cx) / fx + slack_x;
        y_low = -(cy / fy + slack_y), y_high = (height - cy) / fy + slack_y;
    }
    S3D_INLINE Vec3<V> rotate(const Vec3<V> &v) const { return {row(0, v), row(1, v), row(2, v)}; }
    S3D_INLINE Vec3<V> rotate_back(const Vec3<V> &v) const { return {column(0, v), column(1, v), column(2, v)}; }

  private:
    S3D_INLINE V row(int i, const Vec3<V> &v) const {
        return rotation[i][0] * v.x + rotation[i][1] * v.y + rotation[i][2] * v.z;
    }
    S3D_INLINE V column(int j, const Vec3<V> &v) const {
        return rotation[0][j] * v.x + rotation[1][j] * v.y + rotation[2][j] * v.z;
    }
};

// A Gaussian in the world: unit quaternion and the rows of the rotation it stands for.
template <class V>
struct ShapeLanes {
    V w, x, y, z;            // unit
    V inverse_norm;          // 1 / |raw quaternion|
    MaskOf<V> has_direction; // the raw quaternion is neither zero nor out of range
    Vec3<V> rotation_rows[3];
    V scale[3];
    Vec3<V> mean;

    S3D_INLINE void read(const S3dProject &in, const RowGroupOf<V> &group) {
        V m[3], q[4];
        load_rows(in.means, group, m);
        load_rows(in.quats, group, q);
        load_rows(in.scales, group, scale);
        mean = {m[0], m[1], m[2]};
        const V squared = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
        has_direction = both(less(V{}, squared), is_finite(squared));
        inverse_norm = 1.0f / square_root(squared);
        w = q[0] * inverse_norm, x = q[1] * inverse_norm, y = q[2] * inverse_norm, z = q[3] * inverse_norm;
        rotation_rows[0] = {1.0f - 2.0f * (y * y + z * z), 2.0f * (x * y - w * z), 2.0f * (x * z + w * y)};
        rotation_rows[1] = {2.0f * (x * y + w * z), 1.0f - 2.0f * (x * x + z * z), 2.0f * (y * z - w * x)};
        rotation_rows[2] = {2.0f * (x * z - w * y), 2.0f * (y * z + w * x), 1.0f - 2.0f * (x * x + y * y)};
    }
};

// One camera's view of the shape. `axes[i]` is row i of (camera rotation * quaternion rotation * scales), so that the
// image covariance is p0.p0, p0.p1, p1.p1 of the two projected rows p = J * axes.
template <class V>
struct FootprintLanes {
    Vec3<V> center;         // in the camera
    V inverse_z, ratio_x, ratio_y, clamped_x, clamped_y;
    Vec3<V> axes[3];
    Vec3<V> p0, p1, normal; // normal = p0 x p1
    V j00, j02, j11, j12;
    V var_x, var_y, covar, det_sharp, det; // var_* include the blur, covar has none

    S3D_INLINE void see(const ShapeLanes<V> &shape, const CameraLanes<V> &camera, float eps2d) {
        center = camera.rotate(shape.mean);
        center.x += camera.translation[0], center.y += camera.translation[1], center.z += camera.translation[2];
        for (int i = 0; i < 3; ++i) {
            const ScalarOf<V> *r = camera.rotation[i];
            const Vec3<V> turned = broadcast(r[0]) * shape.rotation_rows[0] +
                                   broadcast(r[1]) * shape.rotation_rows[1] + broadcast(r[2]) * shape.rotation_rows[2];
            axes[i] = {turned.x * shape.scale[0], turned.y * shape.scale[1], turned.z * shape.scale[2]};
        }
        inverse_z = 1.0f / center.z;
        ratio_x = center.x * inverse_z, ratio_y = center.y * inverse_z;
        clamped_x = smaller(larger(ratio_x, broadcast(camera.x_low)), broadcast(camera.x_high));
        clamped_y = smaller(larger(ratio_y, broadcast(camera.y_low)), broadcast(camera.y_high));
        j00 = camera.fx * inverse_z, j02 = -j00 * clamped_x;
        j11 = camera.fy * inverse_z, j12 = -j11 * clamped_y;
        p0 = j00 * axes[0] + j02 * axes[2];
        p1 = j11 * axes[1] + j12 * axes[2];
        normal = cross(p0, p1);
        const V sharp_x = dot(p0, p0), sharp_y = dot(p1, p1);
        var_x = sharp_x + eps2d, var_y = sharp_y + eps2d;
        covar = dot(p0, p1);
        // det(p p^T) = |p0 x p1|^2 (Cauchy-Binet): only sums of squares, where xx * yy - xy^2 would lose all digits
        // of a long thin Gaussian.
        det_sharp = dot(normal, normal);
        det = det_sharp + eps2d * (sharp_x + sharp_y) + eps2d * eps2d;
    }
};

}  // namespace SCENE3D_ISA_NS

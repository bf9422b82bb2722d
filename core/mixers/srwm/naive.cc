#include <ATen/ATen.h>

#include "core/mixers/srwm/forms.h"

namespace microtome::mixers {

// Irie et al., arXiv 2202.05780, eqs. 5-8, per head, with x_t, q_t, k_t as rows:
//
//   y_t, q, k = x_t W_y, x_t W_q, x_t W_k;   beta = sigmoid(x_t W_b);   q_t = softmax(q);   k_t = softmax(k)
//   W_j += k_t^T [beta_j (q_t W_j - k_t W_j)]     for j = y, q, k, b
SrwmResult srwm_naive(const at::Tensor& x, SrwmState& s, HookScope* hooks) {
  SrwmResult out;
  std::vector<at::Tensor> o, keys, written;
  for (int64_t t = 0; t < x.size(2); ++t) {
    at::Tensor in = x.slice(2, t, t + 1), beta = at::matmul(in, s.b).sigmoid();
    o.push_back(at::matmul(in, s.y));
    at::Tensor q = at::matmul(in, s.q).softmax(-1), k = at::matmul(in, s.k).softmax(-1), difference = q - k;
    int64_t j = 0;
    for (at::Tensor* W : {&s.y, &s.q, &s.k, &s.b}) {
      at::Tensor u = beta.slice(3, j, j + 1) * at::matmul(difference, *W);
      if (j == 0) written.push_back(u);
      *W = *W + at::matmul(k.transpose(2, 3), u);
      ++j;
    }
    if (hooks) s.y = hooks->apply_at("hook_state", t, s.y);
    keys.push_back(k);
    out.y.push_back(s.y);
  }
  out.o = at::cat(o, 2);
  out.k = at::cat(keys, 2);
  out.u = at::cat(written, 2);
  return out;
}

}  // namespace microtome::mixers

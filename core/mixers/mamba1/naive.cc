#include <ATen/ATen.h>

#include "core/mixers/mamba1/forms.h"

namespace microtome::mixers {

Mamba1Input Mamba1Input::slice(int64_t from, int64_t to) const {
  auto part = [&](const at::Tensor& t) { return t.defined() ? t.slice(1, from, to) : t; };
  return {part(q), part(k), part(v), part(dt), A, D, part(g)};
}

at::Tensor Mamba1Input::decay(int64_t from, int64_t to) const {
  return (g.defined() ? g.slice(1, from, to) : dt.slice(1, from, to).unsqueeze(3) * A).exp();
}

at::Tensor Mamba1Input::write(int64_t from, int64_t to) const {
  return (dt.slice(1, from, to) * v.slice(1, from, to)).unsqueeze(3) * k.slice(1, from, to);
}

at::Tensor mamba1_read(const Mamba1Input& in, int64_t t, const at::Tensor& state) {
  at::Tensor y = (in.q.select(1, t) * state).sum(2);
  return in.D.defined() ? y + in.D * in.v.select(1, t) : y;
}

// Mamba, arXiv 2312.00752, algorithm 2: A by zero-order hold, B by Euler's rule; by channel,
//
//   h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t;   z_t = C_t . h_t + D x_t
at::Tensor mamba1_naive(const Mamba1Input& in, at::Tensor& state) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    state = in.decay(t, t + 1).squeeze(1) * state + in.write(t, t + 1).squeeze(1);
    z.push_back(mamba1_read(in, t, state));
  }
  return at::stack(z, 1);
}

}  // namespace microtome::mixers

// adam.h — one step of Adam (arXiv 1412.6980) over all parameters of a training, the gradient clipped by its whole norm. By
// kernels/adam on a GPU, one pass over everything; else by LibTorch's own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace microtome {

struct AdamParameter {
  at::Tensor value, first, second;           // float32, contiguous; changed in place
  at::Tensor gradient;                       // as large; contents are lost
  bool unit = false;                         // a matrix whose rows are divided by their norms afterwards
  // What the step leaves beside the value where it is done by the kernels: a bfloat16 copy, the rows' norms. Undefined: not wanted.
  at::Tensor copy, norms;
  at::Tensor touched;                        // [rows] uint8: rows whose gradient is there; others are 0 and not read. Undefined: all
  at::Tensor squares;                        // numbers whose sum is what the gradient adds to the norm's square; undefined: from the gradient
  bool counted = false;                      // in another parameter's squares
};

struct AdamOptions {
  double rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, clip = 0;   // clip: largest norm of the whole gradient; 0: none
  int64_t step = 1;                          // this one's number, from 1
};

// Gives the norm before clipping, a scalar. Parameters with copy, norms, touched or squares need has_adam_kernels().
at::Tensor adam_step(std::vector<AdamParameter>& parameters, const AdamOptions& o);
bool has_adam_kernels(const at::Tensor& like);
// copy and norms of the values as they are, equal to what adam_step leaves.
void adam_refresh(const AdamParameter& p);

}  // namespace microtome

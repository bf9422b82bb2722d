// solve.h — linear probes: multi-class logistic regression and ridge regression with an L2 penalty, and their cross-validation.
// Deterministic, in float64 on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace microtome::analyses {

// Features standardised by the training rows and turned into the basis in which they vary: a penalty on the weights is the same in
// both, and n examples need at most n numbers, whatever the width.
struct Basis {
  at::Tensor mean, scale;              // [width]; a feature that does not vary has scale 1
  at::Tensor axes;                     // [width, rank]
  at::Tensor singular;                 // [rank]
  explicit Basis(const at::Tensor& x);                 // x [n, width]
  at::Tensor project(const at::Tensor& x) const;       // [n, width] → [n, rank]
  // Weights in the basis with the bias last [outputs, rank + 1] → the same function of the features as they are.
  at::Tensor weight(const at::Tensor& fitted) const;   // [outputs, width]
  at::Tensor bias(const at::Tensor& fitted) const;     // [outputs]
};

// argmin Σ −log softmax(W z + b)_y + l2 / 2 ‖W‖², the bias free: Newton's method for few weights, L-BFGS for more. z [n, rank], y [n] int64. start: undefined or
// weights to start from. → [classes, rank + 1]
at::Tensor fit_logistic(const at::Tensor& z, const at::Tensor& y, int64_t classes, double l2, const at::Tensor& start);
// argmin ‖z w + b − y‖² + l2 ‖w‖², closed form; z = basis.project(the rows the basis is of). y [n] float64 → [1, rank + 1]
at::Tensor fit_ridge(const Basis& basis, const at::Tensor& z, const at::Tensor& y, double l2);
at::Tensor predict(const at::Tensor& fitted, const at::Tensor& z);   // [n, outputs]

struct ProbeTask {
  at::Tensor y;                        // [n] int64 classes, or float64 for ridge
  int64_t classes = 0;                 // 0: ridge
};
struct CrossValidation {
  at::Tensor predicted;                // [n] float64: the class, or the number, from the fold in which the row was left out
  at::Tensor reference;                // [n] float64: what guessing gives there: the most frequent class, or the mean, of the training rows
  std::vector<double> l2;              // a fold: chosen inside its training rows
};
struct FittedProbe {
  at::Tensor weight, bias;             // of all rows, in the features as they are: [outputs, width], [outputs]
  double l2 = 0;
};
// fold [n] int64: which fold leaves a row out; rows of one group are in one fold. Several tasks on the same rows share the work.
// The penalty is chosen by the loss on inner folds made of the outer ones: for fold k, of all but k.
std::vector<CrossValidation> cross_validate(const at::Tensor& x, const std::vector<ProbeTask>& tasks, const at::Tensor& fold, int64_t folds,
                                            const std::vector<double>& l2);
FittedProbe fit_all(const at::Tensor& x, const ProbeTask& task, const at::Tensor& fold, int64_t folds, const std::vector<double>& l2);

}  // namespace microtome::analyses

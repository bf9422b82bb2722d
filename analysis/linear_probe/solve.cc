#include "analysis/linear_probe/solve.h"

#include <ATen/ATen.h>

#include <cmath>
#include <deque>
#include <limits>
#include <map>

namespace microtome::analyses {
namespace {

constexpr int kMostSteps = 500, kMemory = 10;
constexpr int64_t kInnerFolds = 3;
constexpr int64_t kNewton = 256;                       // so many weights are found by Newton's method

at::Tensor with_one(const at::Tensor& z) { return at::cat({z, at::ones({z.size(0), 1}, z.options())}, 1); }

at::Tensor rows_where(const at::Tensor& t, const at::Tensor& flags) { return t.index_select(0, flags.nonzero().squeeze(1)); }

}  // namespace

Basis::Basis(const at::Tensor& x) {
  mean = x.mean(0);
  at::Tensor centred = x - mean;
  scale = (centred * centred).mean(0).sqrt();
  scale = at::where(scale > 1e-12 * (1 + mean.abs()), scale, at::ones_like(scale));
  auto [u, s, v] = at::linalg_svd(centred / scale, /*full_matrices=*/false);
  int64_t rank = s.numel() ? (s > 1e-9 * s.max().clamp_min(1e-300)).sum().item<int64_t>() : 0;
  singular = s.narrow(0, 0, rank).contiguous();
  axes = v.narrow(0, 0, rank).t().contiguous();
}

at::Tensor Basis::project(const at::Tensor& x) const { return at::matmul((x - mean) / scale, axes); }

at::Tensor Basis::weight(const at::Tensor& fitted) const {
  return at::matmul(fitted.narrow(1, 0, axes.size(1)), axes.t()) / scale;
}

at::Tensor Basis::bias(const at::Tensor& fitted) const { return fitted.select(1, axes.size(1)) - at::matmul(weight(fitted), mean); }

at::Tensor predict(const at::Tensor& fitted, const at::Tensor& z) { return at::matmul(with_one(z), fitted.t()); }

at::Tensor fit_ridge(const Basis& basis, const at::Tensor& z, const at::Tensor& y, double l2) {
  // The columns of z are orthogonal with squared norms singular², and centred.
  at::Tensor w = at::matmul(z.t(), y - y.mean()) / (basis.singular * basis.singular + l2);
  return at::cat({w, y.mean().unsqueeze(0)}).unsqueeze(0);
}

at::Tensor fit_logistic(const at::Tensor& z, const at::Tensor& y, int64_t classes, double l2, const at::Tensor& start) {
  const at::Tensor x = with_one(z);
  const int64_t n = x.size(0), width = x.size(1);
  const at::Tensor target = at::zeros({n, classes}, x.options()).scatter_(1, y.unsqueeze(1), 1.0);
  at::Tensor penalty = at::full({1, width}, l2, x.options());
  penalty.select(1, width - 1).zero_();
  auto value = [&](const at::Tensor& w, at::Tensor* gradient) {
    at::Tensor logp = at::log_softmax(at::matmul(x, w.t()), 1);
    if (gradient) *gradient = at::matmul((logp.exp() - target).t(), x) + penalty * w;
    return (-(logp * target).sum() + 0.5 * (penalty * w * w).sum()).item<double>();
  };
  // Σ_n p_c (δ_cd − p_d) x xᵀ and the penalty; a little on the biases, whose common shift changes nothing.
  auto newton = [&](const at::Tensor& w, const at::Tensor& g) {
    at::Tensor p = at::softmax(at::matmul(x, w.t()), 1);
    at::Tensor pairs = at::diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1);                          // [n, class, class]
    at::Tensor squares = (x.unsqueeze(2) * x.unsqueeze(1)).flatten(1);                              // [n, width · width]
    at::Tensor h = at::matmul(pairs.flatten(1).t(), squares).view({classes, classes, width, width}).permute({0, 2, 1, 3}).reshape({classes * width, classes * width});
    return -at::linalg_solve(h + at::diag((penalty + 1e-9).expand({classes, width}).reshape({-1})), g.reshape({-1, 1}), true).view({classes, width});
  };
  auto dot = [](const at::Tensor& a, const at::Tensor& b) { return (a * b).sum().item<double>(); };
  at::Tensor w = start.defined() ? start.clone() : at::zeros({classes, width}, x.options()), g;
  double f = value(w, &g);
  const bool second_order = classes * width <= kNewton;
  const double small = 1e-7 * static_cast<double>(n);
  std::deque<std::pair<at::Tensor, at::Tensor>> memory;            // steps and changes of the gradient
  for (int step = 0; step < kMostSteps && g.abs().max().item<double>() > small; ++step) {
    at::Tensor d = second_order ? newton(w, g) : -g;
    std::vector<double> alphas;
    for (auto it = memory.rbegin(); it != memory.rend(); ++it) {
      double alpha = dot(it->first, d) / dot(it->first, it->second);
      alphas.push_back(alpha);
      d = d - alpha * it->second;
    }
    if (!memory.empty()) d = d * (dot(memory.back().first, memory.back().second) / dot(memory.back().second, memory.back().second));
    else if (!second_order) d = d / std::max(1.0, g.norm().item<double>());
    for (size_t i = 0; i < memory.size(); ++i) {
      const auto& [s, c] = memory[i];
      d = d + (alphas[memory.size() - 1 - i] - dot(c, d) / dot(s, c)) * s;
    }
    double slope = dot(d, g);
    if (!(slope < 0)) {
      if (memory.empty()) break;
      memory.clear();
      continue;
    }
    double t = 1, next_f = 0;
    at::Tensor next, next_g;
    bool found = false;
    for (int k = 0; k < 50 && !found; ++k, t /= 2) {
      next = w + t * d;
      next_f = value(next, &next_g);
      found = next_f <= f + 1e-4 * t * slope;
    }
    if (!found) break;                                             // as far as float64 goes
    at::Tensor s = next - w, c = next_g - g;
    if (!second_order && dot(s, c) > 1e-12 * s.norm().item<double>() * c.norm().item<double>()) memory.push_back({s, c});
    if (memory.size() > kMemory) memory.pop_front();
    w = next;
    g = next_g;
    f = next_f;
  }
  return w;
}

namespace {

at::Tensor fit(const Basis& basis, const at::Tensor& z, const ProbeTask& task, const at::Tensor& y, double l2, const at::Tensor& start) {
  return task.classes > 0 ? fit_logistic(z, y, task.classes, l2, start) : fit_ridge(basis, z, y, l2);
}

double loss(const at::Tensor& fitted, const at::Tensor& z, const ProbeTask& task, const at::Tensor& y) {
  at::Tensor out = predict(fitted, z);
  if (task.classes > 0) return -at::log_softmax(out, 1).gather(1, y.unsqueeze(1)).sum().item<double>();
  at::Tensor e = out.select(1, 0) - y;
  return (e * e).sum().item<double>();
}

// The penalty with the least loss on inner folds, for each task. fold: of the given rows, with any values.
std::vector<double> choose(const at::Tensor& x, const std::vector<ProbeTask>& tasks, const std::vector<at::Tensor>& y, const at::Tensor& fold,
                           const std::vector<double>& l2) {
  std::vector<double> out(tasks.size(), l2[0]);
  if (l2.size() == 1) return out;
  // Outer folds are dealt out to a few inner ones, so that groups stay together.
  std::map<int64_t, int64_t> number;
  at::Tensor inner = at::empty_like(fold);
  for (int64_t i = 0; i < fold.size(0); ++i) {
    int64_t f = fold.const_data_ptr<int64_t>()[i];
    int64_t k = number.try_emplace(f, static_cast<int64_t>(number.size())).first->second;
    inner.mutable_data_ptr<int64_t>()[i] = k % kInnerFolds;
  }
  const int64_t parts = std::min<int64_t>(kInnerFolds, static_cast<int64_t>(number.size()));
  if (parts < 2) {
    out.assign(tasks.size(), l2[l2.size() / 2]);       // one group: nothing to compare on
    return out;
  }
  std::vector<std::vector<double>> losses(tasks.size(), std::vector<double>(l2.size(), 0));
  for (int64_t k = 0; k < parts; ++k) {
    at::Tensor held = inner == k, kept = inner != k, train = rows_where(x, kept);
    Basis basis(train);
    at::Tensor z = basis.project(train), test = basis.project(rows_where(x, held));
    for (size_t t = 0; t < tasks.size(); ++t) {
      at::Tensor w, yt = rows_where(y[t], kept), yh = rows_where(y[t], held);
      for (size_t i = l2.size(); i-- > 0;) {           // from the strongest on: each is a good start for the next
        w = fit(basis, z, tasks[t], yt, l2[i], w);
        losses[t][i] += loss(w, test, tasks[t], yh);
      }
    }
  }
  for (size_t t = 0; t < tasks.size(); ++t) {
    double best = std::numeric_limits<double>::infinity();
    for (size_t i = l2.size(); i-- > 0;)
      if (losses[t][i] < best) {
        best = losses[t][i];
        out[t] = l2[i];
      }
  }
  return out;
}

}  // namespace

std::vector<CrossValidation> cross_validate(const at::Tensor& x, const std::vector<ProbeTask>& tasks, const at::Tensor& fold, int64_t folds,
                                            const std::vector<double>& l2) {
  std::vector<CrossValidation> out(tasks.size());
  for (CrossValidation& c : out) {
    c.predicted = at::full({x.size(0)}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
    c.reference = c.predicted.clone();
  }
  for (int64_t k = 0; k < folds; ++k) {
    at::Tensor held = (fold == k).nonzero().squeeze(1), kept = (fold != k).nonzero().squeeze(1), train = x.index_select(0, kept);
    std::vector<at::Tensor> y;
    for (const ProbeTask& t : tasks) y.push_back(t.y.index_select(0, kept));
    std::vector<double> chosen = choose(train, tasks, y, fold.index_select(0, kept), l2);
    Basis basis(train);
    at::Tensor z = basis.project(train), test = basis.project(x.index_select(0, held));
    for (size_t t = 0; t < tasks.size(); ++t) {
      at::Tensor guess = predict(fit(basis, z, tasks[t], y[t], chosen[t], {}), test), usual;
      if (tasks[t].classes > 0) {
        guess = guess.argmax(1).to(at::kDouble);
        usual = at::bincount(y[t], {}, tasks[t].classes).argmax().to(at::kDouble);
      } else {
        guess = guess.select(1, 0);
        usual = y[t].mean();
      }
      out[t].predicted.index_copy_(0, held, guess);
      out[t].reference.index_fill_(0, held, usual.item<double>());
      out[t].l2.push_back(chosen[t]);
    }
  }
  return out;
}

FittedProbe fit_all(const at::Tensor& x, const ProbeTask& task, const at::Tensor& fold, int64_t folds, const std::vector<double>& l2) {
  FittedProbe out;
  out.l2 = choose(x, {task}, {task.y}, fold, l2)[0];
  Basis basis(x);
  at::Tensor fitted = fit(basis, basis.project(x), task, task.y, out.l2, {});
  out.weight = basis.weight(fitted);
  out.bias = basis.bias(fitted);
  return out;
}

}  // namespace microtome::analyses

#include "app/desktop/panels/states/kept_state.h"

#include <algorithm>
#include <cmath>

namespace microtome::desktop {
namespace {

const NamedArray* arrayOf(const TensorMap& map, const std::string& name) {
  for (const NamedArray& a : map.arrays)
    if (a.name == name) return &a;
  return nullptr;
}

// A run may come from a file that somebody else wrote: sizes are looked at before anything is read by them.
bool fits(const NamedArray& a) {
  int64_t cells = 1;
  for (int64_t n : a.shape) {
    if (n < 0 || (n && cells > (int64_t{1} << 33) / n)) return false;
    cells *= n;
  }
  return a.shape.size() == a.axes.size() && a.size() == cells;
}

}  // namespace

std::shared_ptr<const KeptState> KeptState::read(const RunViewPtr& run, int layer, int head) {
  if (!run) return nullptr;
  const TensorMap *kept = nullptr, *all = nullptr;
  const std::string name = "state_" + std::to_string(layer) + "_" + std::to_string(head);
  for (const Artifact& a : run->result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&a)) {
      if (map->name == name) kept = map;
      if (map->name == "states") all = map;
    }
  if (!kept || !all) return nullptr;
  const NamedArray *state = arrayOf(*kept, "state"), *write = arrayOf(*kept, "write");
  if (!state || !write || !fits(*state) || !fits(*write) || state->shape.size() != 3 || write->shape != state->shape) return nullptr;
  auto out = std::make_shared<KeptState>();
  out->run_ = run;
  out->state_ = std::get_if<std::vector<float>>(&state->data);
  out->write_ = std::get_if<std::vector<float>>(&write->data);
  if (!out->state_ || !out->write_ || state->shape[0] == 0) return nullptr;
  out->layer = layer;
  out->head = head;
  out->tokens = state->shape[0];
  out->d_k = state->shape[1];
  out->d_v = state->shape[2];
  if (const auto labels = kept->axis_labels.find("pos"); labels != kept->axis_labels.end() && static_cast<int64_t>(labels->second.size()) == out->tokens)
    for (const std::string& t : labels->second) out->texts << QString::fromStdString(t);
  for (const NamedArray& a : all->arrays) {
    // [layer, prompt, pos, head], positions aligned at the end.
    if (a.axes != std::vector<std::string>{"layer", "prompt", "pos", "head"} || !fits(a) || layer >= a.shape[0] || head >= a.shape[3] || a.shape[1] < 1) continue;
    const int64_t width = a.shape[2], first = width - out->tokens;
    if (first < 0) continue;
    Number n{QString::fromStdString(a.name), QString::fromStdString(a.unit), QString::fromStdString(a.help), {}};
    n.name.replace(QLatin1Char('_'), QLatin1Char(' '));
    bool any = false;
    for (int64_t t = 0; t < out->tokens; ++t) {
      const double v = a.at(((layer * a.shape[1]) * width + first + t) * a.shape[3] + head);
      n.values.push_back(v);
      any = any || std::isfinite(v);
    }
    if (any) out->numbers.push_back(std::move(n));
  }
  const NamedArray *re = arrayOf(*kept, "product_eigenvalues_re"), *im = arrayOf(*kept, "product_eigenvalues_im");
  if (re && im && fits(*re) && fits(*im) && re->shape == im->shape && re->shape == std::vector<int64_t>{out->tokens, out->d_k}) {
    for (int64_t i = 0; i < re->size(); ++i) {
      out->eigenRe.push_back(re->at(i));
      out->eigenIm.push_back(im->at(i));
    }
    out->eigenHelp = QString::fromStdString(re->help);
  }
  return out;
}

std::shared_ptr<const std::vector<float>> KeptState::matrix(What what, int64_t token) const {
  const int64_t cells = d_k * d_v;
  token = std::clamp<int64_t>(token, 0, tokens - 1);
  const std::vector<float>& from = what == What::kWrite ? *write_ : *state_;
  auto out = std::make_shared<std::vector<float>>(from.begin() + token * cells, from.begin() + (token + 1) * cells);
  if (what == What::kChange && token > 0)
    for (int64_t i = 0; i < cells; ++i) (*out)[static_cast<size_t>(i)] -= (*state_)[static_cast<size_t>((token - 1) * cells + i)];
  return out;
}

double KeptState::largest(What what) const {
  double out = 0;
  if (what == What::kChange) {
    for (int64_t t = 0; t < tokens; ++t)
      for (float v : *matrix(what, t))
        if (std::isfinite(v)) out = std::max(out, std::abs(static_cast<double>(v)));
    return out;
  }
  for (float v : what == What::kWrite ? *write_ : *state_)
    if (std::isfinite(v)) out = std::max(out, std::abs(static_cast<double>(v)));
  return out;
}

}  // namespace microtome::desktop

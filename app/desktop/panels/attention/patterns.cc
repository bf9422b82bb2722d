#include "app/desktop/panels/attention/patterns.h"

#include <QCoreApplication>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("Patterns", text); }

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int kWordBytes = 512;

const NamedArray* patternOf(const AnalysisResult& result) {
  for (const Artifact& artifact : result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&artifact))
      for (const NamedArray& array : map->arrays)
        if (array.name == "pattern") return &array;
  return nullptr;
}

}  // namespace

std::shared_ptr<const Patterns> Patterns::read(const RunViewPtr& run, const app::ModelPtr& model,
                                               const PromptPair& pair) {
  if (!run || !model) return nullptr;
  const NamedArray* a = patternOf(run->result);
  const std::vector<std::string> axes = {"layer", "head", "prompt", "q_pos", "k_pos"};
  if (!a || a->axes != axes || a->shape.size() != axes.size()) return nullptr;
  const auto* values = std::get_if<std::vector<float>>(&a->data);
  const auto& layers = model->facts().layers;
  const auto tokens = static_cast<int64_t>(pair.clean_ids.size());
  if (!values || a->shape[0] != static_cast<int64_t>(layers.size()) || a->shape[1] < 1 || a->shape[2] != 1 ||
      tokens < 1 || a->shape[3] != tokens || a->shape[4] != tokens)
    return nullptr;
  // A stored file may say anything: nothing is multiplied beyond what is really there.
  int64_t size = 1;
  for (const int64_t n : a->shape) {
    if (n < 1 || size > static_cast<int64_t>(values->size()) / n) return nullptr;
    size *= n;
  }
  if (size != static_cast<int64_t>(values->size())) return nullptr;
  auto out = std::make_shared<Patterns>();
  out->run_ = run;
  out->values_ = values;
  out->help_ = labelText(a->help, 400);
  out->layers_ = a->shape[0];
  out->heads_ = a->shape[1];
  out->tokens_ = tokens;
  out->facts_ = layers;
  const Tokenizer* t = model->tokenizer();
  for (const int64_t id : pair.clean_ids)
    out->words_ << (t && id >= 0 && id < t->vocab_size() ? QString::fromStdString(t->display(id).substr(0, kWordBytes))
                                                         : QString::number(id));
  return out;
}

bool Patterns::anyRecurrent() const {
  return std::any_of(facts_.begin(), facts_.end(), [](const app::LayerFacts& f) { return f.recurrent; });
}

bool Patterns::exists(int64_t layer, int64_t h) const {
  if (layer < 0 || h < 0 || layer >= layers_ || h >= std::min(heads_, headsOf(layer))) return false;
  // Layers without the matrix are filled with NaN.
  return !std::isnan(head(layer, h)[0]);
}

Look Patterns::look(int64_t layer, const PatternOptions& options) const {
  return recurrent(layer) && options.recurrent == RecurrentLook::kSigned ? Look::kDiverging : Look::kPattern;
}

double Patterns::factor(int64_t layer, const float* row, int64_t query, const PatternOptions& options) const {
  if (!recurrent(layer) || options.recurrent != RecurrentLook::kShare) return 1;
  double sum = 0;
  for (int64_t k = 0; k <= query; ++k) sum += std::abs(row[k]);
  return sum > 0 ? 1 / sum : 0;
}

std::vector<double> Patterns::row(int64_t layer, int64_t h, int64_t query, const PatternOptions& options) const {
  std::vector<double> out(static_cast<size_t>(tokens_), kNaN);
  if (!exists(layer, h) || query < 0 || query >= tokens_) return out;
  const float* from = head(layer, h) + query * tokens_;
  const double scale = factor(layer, from, query, options);
  const bool sign = look(layer, options) == Look::kDiverging;
  for (int64_t k = first(options); k <= query; ++k)
    out[static_cast<size_t>(k)] = (sign || !recurrent(layer) ? from[k] : std::abs(from[k])) * scale;
  return out;
}

HeatMapData Patterns::named(int64_t layer, const PatternOptions& options) const {
  HeatMapData out;
  out.look = look(layer, options);
  out.causal = true;
  out.help = help_;
  if (!recurrent(layer)) {
    out.label = tr("attention");
  } else if (options.recurrent == RecurrentLook::kShare) {
    out.label = tr("|A| / row's sum");
    out.help += tr(" Shown: absolute weights divided by their row's sum.");
  } else if (options.recurrent == RecurrentLook::kAbsolute) {
    out.label = tr("|A|");
    out.help += tr(" Shown: absolute weights.");
  } else {
    out.label = tr("weight A");
  }
  return out;
}

HeatMapData Patterns::map(int64_t layer, int64_t h, const PatternOptions& options) const {
  HeatMapData out = named(layer, options);
  const int64_t skip = first(options), side = tokens_;
  auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(side * side), 0.0f);
  const bool sign = out.look == Look::kDiverging || !recurrent(layer);
  for (int64_t q = 0; q < side; ++q) {
    const float* from = head(layer, h) + q * side;
    float* to = values->data() + q * side;
    const auto scale = static_cast<float>(factor(layer, from, q, options));
    for (int64_t k = 0; k < skip; ++k) to[k] = std::numeric_limits<float>::quiet_NaN();
    for (int64_t k = skip; k <= q; ++k) to[k] = (sign ? from[k] : std::abs(from[k])) * scale;
  }
  out.values = std::move(values);
  out.rows = out.cols = side;
  out.rowAxis.name = tr("query");
  out.colAxis.name = tr("key");
  out.rowAxis.tokens = out.colAxis.tokens = true;
  out.rowAxis.labels = out.colAxis.labels = words_;
  return out;
}

PatternGrid Patterns::grid(const PatternOptions& options) const {
  PatternGrid out;
  HeatMapGridData& g = out.data;
  g.rows = layers_;
  g.cols = heads_;
  g.rowAxis.name = tr("layer");
  g.colAxis.name = tr("head");
  g.help = help_;
  const int64_t skip = first(options);
  const int64_t block = (tokens_ + kGridSide - 1) / kGridSide, side = (tokens_ + block - 1) / block;
  for (int64_t l = 0; l < layers_; ++l) {
    g.rowAxis.kinds.push_back(recurrent(l) ? LayerKind::kRecurrent : LayerKind::kSoftmax);
    const HeatMapData names = named(l, options);
    for (int64_t h = 0; h < heads_; ++h) {
      HeatMapData m;
      if (exists(l, h)) {
        m = names;
        if (block > 1) m.label += tr(", largest of %1 × %1 cells").arg(block);
        m.rows = m.cols = side;
        auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(side * side), 0.0f);
        const bool sign = m.look == Look::kDiverging || !recurrent(l);
        float most = 0;
        for (int64_t q = 0; q < tokens_; ++q) {
          const float* from = head(l, h) + q * tokens_;
          float* to = values->data() + q / block * side;
          const auto scale = static_cast<float>(factor(l, from, q, options));
          for (int64_t k = skip; k <= q; ++k) {
            const float v = (sign ? from[k] : std::abs(from[k])) * scale;
            float& cell = to[k / block];
            if (!(std::abs(cell) >= std::abs(v))) cell = v;
            if (std::abs(v) > most && std::isfinite(v)) most = std::abs(v);
          }
          if (skip && block == 1) to[0] = std::numeric_limits<float>::quiet_NaN();
        }
        m.values = std::move(values);
        auto& known = out.most[static_cast<size_t>(m.look)];
        known = std::max(known.value_or(0.0), static_cast<double>(most));
      }
      g.maps.push_back(std::move(m));
    }
  }
  return out;
}

double patternBytes(const app::ModelFacts& facts, int64_t tokens) {
  int64_t most = 0;
  for (const app::LayerFacts& f : facts.layers) most = std::max(most, f.heads);
  return static_cast<double>(facts.layers.size()) * static_cast<double>(most) * static_cast<double>(tokens) *
         static_cast<double>(tokens) * sizeof(float);
}

QString bytesText(double bytes) {
  if (bytes >= 1e9) return tr("%1 GB").arg(numberText(bytes / 1e9, 2));
  if (bytes >= 1e6) return tr("%1 MB").arg(numberText(bytes / 1e6, 2));
  return tr("%1 kB").arg(numberText(std::max(1.0, bytes / 1e3), 2));
}

PatternScales commonScales(const std::vector<const PatternGrid*>& grids, bool hideFirst) {
  PatternScales out;
  bool probabilities = false;
  for (const PatternGrid* grid : grids) {
    if (!grid) continue;
    for (size_t i = 0; i < out.size(); ++i)
      if (grid->most[i]) out[i] = std::max(out[i].value_or(0.0), *grid->most[i]);
    for (const LayerKind kind : grid->data.rowAxis.kinds) probabilities = probabilities || kind == LayerKind::kSoftmax;
  }
  auto& pattern = out[static_cast<size_t>(Look::kPattern)];
  if (pattern && probabilities && !hideFirst) pattern = std::max(1.0, *pattern);
  return out;
}

std::pair<double, double> scaleFor(Look look, const PatternScales& scales) {
  const double most = scales[static_cast<size_t>(look)].value_or(0.0);
  if (!(most > 1e-12)) return {0, 0};
  return {look == Look::kDiverging ? -most : 0.0, most};
}

}  // namespace microtome::desktop

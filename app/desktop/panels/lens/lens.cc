#include "app/desktop/panels/lens/lens.h"

#include <QCoreApplication>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("Lens", text); }

constexpr size_t kWordBytes = 512;

// [layer, prompt, pos] of one prompt, all of it there; else null.
const NamedArray* arrayOf(const TensorMap& map, const char* name, int64_t rows, int64_t cols) {
  for (const NamedArray& a : map.arrays) {
    if (a.name != name) continue;
    const bool axes = a.axes == std::vector<std::string>{"layer", "prompt", "pos"};
    const bool shape = a.shape == std::vector<int64_t>{rows, 1, cols};
    const auto stored = std::visit([](const auto& v) { return static_cast<int64_t>(v.size()); }, a.data);
    return axes && shape && stored / cols == rows && stored % cols == 0 ? &a : nullptr;
  }
  return nullptr;
}

struct Known {
  const char *array, *name, *unit;
  Look look;
  bool unitScale, logarithmic;
};
// Names are short: all of them are told on hover.
constexpr Known kKnown[] = {{"top_prob", "probability", "", Look::kPattern, true, false},
                            {"logprob", "log probability of next", "nats", Look::kSequential, false, false},
                            {"rank", "rank of next", "tokens", Look::kSequential, false, true},
                            {"kl", "KL to the output", "nats", Look::kSequential, false, false},
                            {"entropy", "entropy", "nats", Look::kSequential, false, false}};

}  // namespace

std::shared_ptr<const Lens> Lens::read(const RunViewPtr& run, const app::ModelPtr& model, const PromptPair& pair) {
  if (!run || !model) return nullptr;
  const auto& layers = model->facts().layers;
  const auto rows = static_cast<int64_t>(layers.size()) + 1, cols = static_cast<int64_t>(pair.clean_ids.size());
  const TensorMap* map = nullptr;
  for (const Artifact& artifact : run->result.artifacts)
    if (const auto* m = std::get_if<TensorMap>(&artifact); m && m->name == "logit_lens") map = m;
  const NamedArray* top = map && cols > 0 ? arrayOf(*map, "logits_top", rows, cols) : nullptr;
  if (!top) return nullptr;
  auto out = std::make_shared<Lens>();
  out->run_ = run;
  out->model_ = model;
  out->kl_ = arrayOf(*map, "kl", rows, cols);
  out->logprob_ = arrayOf(*map, "logprob", rows, cols);

  const Tokenizer* tokenizer = model->tokenizer();
  const auto word = [tokenizer](int64_t id) {
    if (tokenizer && id >= 0 && id < tokenizer->vocab_size())
      return QString::fromStdString(tokenizer->display(id).substr(0, kWordBytes));
    return tr("id %1").arg(id);
  };
  TokenMapData& t = out->table_;
  t.rows = rows;
  t.cols = cols;
  t.rowAxis.name = tr("lens");
  t.colAxis.name = tr("position");
  t.colAxis.tokens = true;
  t.wordName = tr("top token");
  for (int64_t l = 0; l + 1 < rows; ++l) {
    t.rowAxis.labels << tr("before L%1").arg(l);
    t.rowAxis.kinds.push_back(layers[static_cast<size_t>(l)].recurrent ? LayerKind::kRecurrent : LayerKind::kSoftmax);
  }
  t.rowAxis.labels << tr("output");
  t.rowAxis.kinds.push_back(LayerKind::kNone);
  for (int64_t c = 0; c < cols; ++c) {
    t.colAxis.labels << word(pair.clean_ids[static_cast<size_t>(c)]);
    const bool last = c + 1 == cols;
    const bool known = !last || !pair.answer_ids.empty();
    const QString target =
        !known ? QString() : word(last ? pair.answer_ids[0] : pair.clean_ids[static_cast<size_t>(c + 1)]);
    out->targets_ << target;
    t.colNotes << (!known ? tr("The prompt ends here and has no answer: there is no next token.")
                   : last ? tr("The prompt ends here: next is its answer “%1”.").arg(visibleToken(target.left(64)))
                          : tr("Next comes “%1”.").arg(visibleToken(target.left(64))));
  }
  std::unordered_map<int64_t, int32_t> places;
  auto cells = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(rows * cols), -1);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const double v = top->at(i);
    if (!(v >= 0 && v < 9e15)) continue;
    const auto id = static_cast<int64_t>(v);
    const auto [at, isNew] = places.emplace(id, static_cast<int32_t>(t.words.size()));
    if (isNew) t.words.push_back(word(id));
    (*cells)[static_cast<size_t>(i)] = at->second;
  }
  t.cells = std::move(cells);
  for (const Known& k : kKnown) {
    const NamedArray* a = arrayOf(*map, k.array, rows, cols);
    if (!a) continue;
    TokenQuantity q;
    q.name = tr(k.name);
    q.unit = tr(k.unit);
    q.help = labelText(a->help, 400);
    q.look = k.look;
    q.logarithmic = k.logarithmic;
    if (k.unitScale) q.hi = 1;
    auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < rows * cols; ++i) (*values)[static_cast<size_t>(i)] = static_cast<float>(a->at(i));
    q.values = std::move(values);
    t.quantities.push_back(std::move(q));
  }
  return out;
}

std::vector<double> Lens::column(const NamedArray* array, int64_t position, bool exponential) const {
  std::vector<double> out(static_cast<size_t>(table_.rows), std::numeric_limits<double>::quiet_NaN());
  if (!array || position < 0 || position >= table_.cols) return out;
  for (int64_t r = 0; r < table_.rows; ++r) {
    const double v = array->at(r * table_.cols + position);
    out[static_cast<size_t>(r)] = exponential ? std::exp(v) : v;
  }
  return out;
}

}  // namespace microtome::desktop

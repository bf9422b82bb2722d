// dictionary_eval — a dictionary put into the model in place of what it reconstructs; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/dictionary_eval/report.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/dictionaries.h"
#include "analysis/registry.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kChunkTokens = 16384;                // of one item

const AnalysisInfo kInfo = {
    "dictionary_eval", 1, "Dictionary in place",
    "The point that a dictionary reconstructs is replaced by the reconstruction, by zero and by its mean: cross entropy and KL of the "
    "model, and how much of the ablation's loss is recovered; L0, variance unexplained against the global mean, cosine, reconstruction "
    "bias, dead and dense features. Transcoders replace their MLP, each alone and all together.",
    "arXiv 2309.08600, 2404.16014, 2406.11944", AnalysisInfo::Prompts::kNone,
    {{"l0", {"member"}, "mean number of active features a token"},
     {"fvu", {"member"}, "Σ‖x − x̂‖² / Σ‖x − mean‖², mean over all tokens"},
     {"explained_variance", {"member"}, "1 − fvu"},
     {"cosine", {"member"}, "mean cosine of x and x̂"},
     {"mse", {"member"}, "mean of ‖x − x̂‖²"},
     {"bias", {"member"}, "relative reconstruction bias Σ‖x̂‖² / Σ x·x̂, below 1: shrinkage"},
     {"dead", {"member"}, "share of features that never fired"},
     {"dense", {"member"}, "share of features that fired on more than a tenth of the tokens"},
     {"density", {"member", "feature"}, "share of tokens that a feature fired on"},
     {"ce", {"choice", "variant", "sequence"}, "cross entropy of each sequence: clean, spliced, zero, mean"},
     {"kl", {"choice", "variant", "sequence"}, "KL(clean ‖ changed) of each sequence: spliced, zero, mean"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    set_ = read_set(input, "dictionary", warnings_);
    sequences_ = read_text(input);
    chunks_ = chunk_text(sequences_, kChunkTokens, input.model.device());
    for (size_t i = 0; i < set_->members.size(); ++i) choices_.push_back({i});
    if (choices_.size() > 1) choices_.push_back({});
    from_ = input.params.get_int("from");
    means_ = input.params.get_bool("mean_ablation");
    int64_t judged = 0;
    for (const auto& s : sequences_) judged += std::max<int64_t>(0, static_cast<int64_t>(s.size()) - from_);
    if (judged == 0)
      throw Error(StatusCode::kBadInput, "every sequence is shorter than from = " + std::to_string(from_), "param from", "choose a smaller one");
  }

  void set_batch(int64_t rows) override { rows_ = std::max<int64_t>(1, rows); }
  // First the activations of every chunk, for all members in one run; then every choice of members over every chunk.
  int64_t item_count() const override { return static_cast<int64_t>(chunks_.size() * (1 + choices_.size())); }
  std::string item_title(int64_t item) const override {
    size_t n = chunks_.size(), i = static_cast<size_t>(item);
    std::string part = n > 1 ? ", text " + std::to_string(i % n + 1) + " of " + std::to_string(n) : "";
    if (i < n) return "reconstruction" + part;
    const std::vector<size_t>& c = choices_[i / n - 1];
    return (c.empty() ? "all together" : member_name(*set_, c[0]) + " in place") + part;
  }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    if (item < static_cast<int64_t>(chunks_.size()) || !means_ || !mean_values_.empty()) return;
    std::vector<MetricsAccumulator> all = gather(so_far);
    for (size_t m = 0; m < all.size(); ++m) mean_values_[set_->members[m].config.hook_out] = all[m].mean();
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    size_t n = chunks_.size(), i = static_cast<size_t>(item);
    return i < n ? watch(chunks_[i], progress) : losses(chunks_[i % n], choices_[i / n - 1], progress);
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    EvalReport report{input_, *set_, gather(items), {}, 0, static_cast<int64_t>(sequences_.size())};
    for (size_t c = 0; c < chunks_.size(); ++c)
      report.kept_error_change = std::max(report.kept_error_change, find_array(items[c], "kept_error_change").at(0));
    for (size_t c = 0; c < choices_.size(); ++c) {
      std::vector<int64_t> order;
      std::map<std::string, std::vector<at::Tensor>> parts;
      for (size_t k = 0; k < chunks_.size(); ++k) {
        order.insert(order.end(), chunks_[k].rows.begin(), chunks_[k].rows.end());
        for (const NamedArray& a : items[(c + 1) * chunks_.size() + k]) parts[a.name].push_back(to_tensor(a));
      }
      at::Tensor where = at::argsort(at::tensor(order, at::kLong));
      auto rows = [&](const std::string& name) { return parts.count(name) ? at::cat(parts[name]).index_select(0, where) : at::Tensor(); };
      LossRows l;
      l.clean = {rows("ce_clean"), {}};
      l.spliced = {rows("ce_spliced"), rows("kl_spliced")};
      l.zero = {rows("ce_zero"), rows("kl_zero")};
      l.mean = {rows("ce_mean"), rows("kl_mean")};
      l.ce_tokens = rows("ce_tokens");
      l.kl_tokens = rows("kl_tokens");
      report.choices.push_back({choices_[c].empty() ? "all together" : member_name(*set_, choices_[c][0]), l});
    }
    AnalysisResult out = make_report(report);
    out.warnings.insert(out.warnings.begin(), warnings_.begin(), warnings_.end());
    return out;
  }

 private:
  // Batches of a chunk.
  std::vector<at::Tensor> batches(const TextChunk& chunk) const {
    return at::split(chunk.tokens, rows_);
  }

  std::vector<NamedArray> watch(const TextChunk& chunk, Progress& progress) const {
    std::vector<MetricsAccumulator> acc = fresh();
    std::vector<at::Tensor> parts = batches(chunk);
    double change = 0;
    for (size_t b = 0; b < parts.size(); ++b) {
      progress.step(static_cast<int64_t>(b), static_cast<int64_t>(parts.size()), "reconstructing");
      SpliceOptions o;
      o.watch_only = true;
      o.from = from_;
      o.watch = [&](const SpliceOptions::Place& p, const at::Tensor& x, const at::Tensor& y, const at::Tensor& codes) { acc[p.member].add(x, y, codes); };
      HookPlan plan;
      plan.form = input_.form;
      plan.logits = b == 0;
      splice(plan, set_, o);
      at::Tensor clean = input_.model.forward(parts[b], plan).logits;
      if (b == 0) change = kept_error_change(parts[b], clean);
    }
    std::vector<NamedArray> out = {to_array("kept_error_change", {"one"}, at::full({1}, change, at::kDouble))};
    const char* names[] = {"shift", "sum", "sums", "fired", "tokens"};
    const char* axes[] = {"d_out", "d_out", "sum", "feature", "one"};
    for (size_t m = 0; m < acc.size(); ++m) {
      std::vector<at::Tensor> state = acc[m].state();
      for (size_t k = 0; k < state.size(); ++k) out.push_back(to_array(names[k] + std::string(".") + std::to_string(m), {axes[k]}, state[k]));
    }
    return out;
  }

  // With the error put back the model must say what it said: the largest change of a logit, as a share of the largest logit.
  double kept_error_change(const at::Tensor& tokens, const at::Tensor& clean) const {
    SpliceOptions o;
    o.keep_error = true;
    o.from = from_;
    HookPlan plan;
    plan.form = input_.form;
    splice(plan, set_, o);
    at::Tensor kept = input_.model.forward(tokens, plan).logits.to(at::kDouble), was = clean.to(at::kDouble);
    double change = ((kept - was).abs().max() / was.abs().max().clamp_min(1e-12)).item<double>();
    bool half = input_.model.dtype() != at::kFloat && input_.model.dtype() != at::kDouble;
    double allowed = half ? 0.1 : 1e-2;
    if (!(change <= allowed))
      throw Error(StatusCode::kFailed, "with the dictionary's error put back the logits still change by " + std::to_string(change) + " of their size",
                  set_->name, "its outputs are too large for this type: compute in float32 or float64");
    return change;
  }

  std::vector<NamedArray> losses(const TextChunk& chunk, const std::vector<size_t>& members, Progress& progress) const {
    LossOptions o;
    o.from = from_;
    o.form = input_.form;
    o.means = means_;
    o.given_means = mean_values_;
    o.members = members;
    LossRows l = splice_losses(input_.model, set_, batches(chunk), o, progress);
    std::vector<NamedArray> out;
    auto put = [&](const char* name, const at::Tensor& t) {
      if (t.defined()) out.push_back(to_array(name, {"sequence"}, t));
    };
    put("ce_clean", l.clean.ce);
    put("ce_spliced", l.spliced.ce);
    put("ce_zero", l.zero.ce);
    put("ce_mean", l.mean.ce);
    put("kl_spliced", l.spliced.kl);
    put("kl_zero", l.zero.kl);
    put("kl_mean", l.mean.kl);
    put("ce_tokens", l.ce_tokens);
    put("kl_tokens", l.kl_tokens);
    return out;
  }

  std::vector<MetricsAccumulator> fresh() const {
    std::vector<MetricsAccumulator> out;
    for (const Dictionary& d : set_->members) out.emplace_back(d.config.d_out, d.config.d_sae, input_.model.device());
    return out;
  }
  std::vector<MetricsAccumulator> gather(const std::vector<std::vector<NamedArray>>& items) const {
    std::vector<MetricsAccumulator> out = fresh(), one = fresh();
    for (size_t c = 0; c < chunks_.size(); ++c)
      for (size_t m = 0; m < out.size(); ++m) {
        std::vector<at::Tensor> state;
        for (const char* name : {"shift", "sum", "sums", "fired", "tokens"}) state.push_back(to_tensor(find_array(items[c], name + std::string(".") + std::to_string(m))));
        one[m].set_state(state);
        out[m].merge(one[m]);
      }
    return out;
  }

  AnalysisInput input_;
  std::shared_ptr<const DictionarySet> set_;
  std::vector<std::vector<int64_t>> sequences_;
  std::vector<TextChunk> chunks_;
  std::vector<std::vector<size_t>> choices_;           // empty: all members
  std::map<std::string, at::Tensor> mean_values_;
  std::vector<std::string> warnings_;
  int64_t from_ = 0, rows_ = 16;
  bool means_ = true;
};

}  // namespace

void register_dictionary_eval(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses

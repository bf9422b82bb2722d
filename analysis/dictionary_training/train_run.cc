#include "analysis/dictionary_training/train_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/dictionary_training/fold.h"
#include "analysis/dictionary_training/kept.h"
#include "analysis/dictionary_training/outcome.h"
#include "analysis/engine/arrays.h"
#include "core/base/rng.h"
#include "core/base/sha256.h"
#include "core/dictionary/stored.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::training {
namespace {

using engine::to_array;

// Token positions that are looked at: the first one of a sequence with a start token holds that token's outsized values.
int64_t first_position(const AnalysisInput& input, const Corpus& corpus) { return corpus.starts && input.params.get_bool("skip_start") ? 1 : 0; }

}  // namespace

struct TrainRun::Live {
  Corpus corpus;
  std::unique_ptr<ActivationBlocks> blocks;
  std::vector<int64_t> batches;              // of each block of the corpus
  int64_t epoch_batches = 0;
  std::vector<at::Tensor> eval_batches;      // held-out ids [rows, pos]
  std::vector<double> factors;               // of each point: √width / mean norm
  std::vector<Trainer> trainers;             // one a group
  int64_t step = 0;
  std::vector<std::vector<StepReport>> reports;        // since the last look, a list a group
  std::vector<std::vector<double>> curve;    // rows of outcome.h, of the item at hand
  std::vector<double> first_loss;            // a group; NaN before the first look
  std::vector<std::vector<double>> evaluated;          // rows of outcome.h
  std::vector<double> best;                  // FVU a group, for early stopping
  int64_t since_best = 0;
  bool stopped = false, diverged = false;
  int64_t from = 0;

  // Step s reads batch `batch` of block `block` (as ActivationBlocks counts).
  std::pair<int64_t, int64_t> place(int64_t s) const {
    int64_t epoch = s / epoch_batches, rest = s % epoch_batches, b = 0;
    while (rest >= batches[static_cast<size_t>(b)]) rest -= batches[static_cast<size_t>(b++)];
    return {epoch * static_cast<int64_t>(batches.size()) + b, rest};
  }
};

TrainRun::TrainRun(const AnalysisInput& input, Plan plan) : input_(input), plan_(std::move(plan)) {
  if (input_.params.get_string("corpus").empty())
    throw Error(StatusCode::kBadInput, "training needs text", "param corpus", "give --corpus FILE (text, JSON lines, or token ids)");
}
TrainRun::~TrainRun() = default;

int64_t TrainRun::item_count() const { return (plan_.steps + plan_.checkpoint_every - 1) / plan_.checkpoint_every; }
std::string TrainRun::item_title(int64_t item) const {
  return "training to step " + std::to_string(std::min(plan_.steps, (item + 1) * plan_.checkpoint_every)) + " of " + std::to_string(plan_.steps);
}

void TrainRun::start(Progress& progress) {
  if (live_) return;
  const Params& p = input_.params;
  auto live = std::make_unique<Live>();
  progress.step(0, 1, "reading the corpus");
  const bool bos = p.get_bool("bos");
  live->corpus = read_corpus(p.get_string("corpus"), input_.tokenizer, plan_.length, bos, input_.model.config().vocab_size);
  live->from = first_position(input_, live->corpus);
  Sha256 hash;
  for (const auto& s : live->corpus.sequences) hash.update(s.data(), s.size() * sizeof(int64_t));

  ActivationOptions o;
  o.hooks = plan_.hooks;
  o.block_tokens = plan_.block_tokens;
  o.batch_tokens = p.get_int("model_tokens");
  const int64_t sequences = static_cast<int64_t>(live->corpus.sequences.size());
  // A small corpus keeps what it has for training.
  o.held_out = std::min((plan_.eval_tokens + plan_.length - 1) / plan_.length, std::max<int64_t>(1, sequences / 10));
  if (sequences < 2) throw Error(StatusCode::kBadInput, "the corpus is one sequence of " + std::to_string(live->corpus.tokens()) + " tokens: too short to train on and to measure with", live->corpus.name, "give a longer one, or a smaller --length");
  o.from = live->from;
  o.seed = input_.seed;
  o.form = input_.form;
  o.cache = p.get_string("cache");
  o.key = input_.weights_hash + "/" + hash.hex() + "/" + std::to_string(o.from) + "/" + std::to_string(o.block_tokens) + "/" + std::to_string(o.held_out) + "/" +
          std::to_string(o.seed) + "/" + form_name(o.form) + "/" + c10::toString(input_.model.dtype());
  live->blocks = std::make_unique<ActivationBlocks>(input_.model, live->corpus, o);
  for (int64_t b = 0; b < live->blocks->blocks(); ++b) {
    live->batches.push_back(live->blocks->rows(b) / plan_.batch);
    live->epoch_batches += live->batches.back();
  }
  const int64_t rows = live->blocks->rows_of_all();
  if (live->batches.back() == 0)
    throw Error(StatusCode::kBadInput, "the corpus has " + std::to_string(rows) + " tokens to train on, a batch takes " + std::to_string(plan_.batch), live->corpus.name, "give a longer corpus or a smaller --batch");
  if (rows < plan_.block_tokens)
    progress.warn("the corpus has " + std::to_string(rows) + " tokens to train on, fewer than the " + std::to_string(plan_.block_tokens) + " that are shuffled together: all are");
  if (plan_.steps > live->epoch_batches)
    progress.warn("the corpus has tokens for " + std::to_string(live->epoch_batches) + " of " + std::to_string(plan_.steps) + " steps: it is read " +
                  std::to_string((plan_.steps + live->epoch_batches - 1) / live->epoch_batches) + " times");
  for (const auto& s : live->blocks->held_out())
    live->eval_batches.push_back(at::tensor(s, at::kLong).unsqueeze(0));
  live->eval_batches = batched(live->eval_batches, o.batch_tokens);

  progress.step(0, 1, "the first activations");
  const std::vector<at::Tensor>& values = live->blocks->block(live->place(0).first);
  for (size_t h = 0; h < values.size(); ++h) {
    const double norm = values[h].norm(2, 1).mean().item<double>();
    if (!std::isfinite(norm) || norm == 0) throw Error(StatusCode::kFailed, "the activations at " + plan_.hooks[h] + (norm == 0 ? " are all 0" : " are not numbers"), "training", "look at the model with `microtome forward`");
    live->factors.push_back(plan_.normalise ? std::sqrt(static_cast<double>(values[h].size(1))) / norm : 1.0);
  }
  for (const Group& g : plan_.groups) {
    std::vector<Dictionary> members;
    for (size_t i = 0; i < g.members.size(); ++i) {
      const Member& m = g.members[i];
      at::Tensor mean = values[m.out].mean(0) * live->factors[m.out];
      members.push_back(Trainer::initial(m.config, mean, plan_.decoder_norm, g.initial_threshold, m.later, item_seed(input_.seed, i)));
    }
    live->trainers.emplace_back(std::move(members), g.settings);
  }
  live->reports.resize(plan_.groups.size());
  live->first_loss.assign(plan_.groups.size(), NAN);
  live->best.assign(plan_.groups.size(), INFINITY);
  if (!resumed_.empty()) {
    at::Tensor numbers = engine::to_tensor(engine::find_array(resumed_, "numbers"));
    const size_t groups = plan_.groups.size();
    if (numbers.numel() != static_cast<int64_t>(3 + 2 * groups)) throw Error(StatusCode::kBadInput, "the stored state of this training does not fit it", "training", "start it again with --again");
    const double* n = numbers.const_data_ptr<double>();
    live->step = static_cast<int64_t>(n[0]);
    live->since_best = static_cast<int64_t>(n[1]);
    live->stopped = n[2] != 0;
    for (size_t g = 0; g < groups; ++g) {
      live->first_loss[g] = n[3 + g];
      live->best[g] = n[3 + groups + g];
      live->trainers[g].set_state(resumed_, "trainer" + std::to_string(g) + ".");
    }
    live->curve = rows_of(engine::find_array(resumed_, "curve"));
    live->evaluated = rows_of(engine::find_array(resumed_, "evaluated"));
    for (const std::vector<double>& r : rows_of(engine::find_array(resumed_, "pending"))) {
      auto number = [](double v) { return at::scalar_tensor(v, at::kDouble); };
      if (r.size() == 5 && r[0] >= 0 && r[0] < static_cast<double>(groups)) live->reports[static_cast<size_t>(r[0])].push_back({number(r[1]), number(r[2]), number(r[3]), number(r[4])});
    }
    resumed_.clear();
  }
  live_ = std::move(live);
}

void TrainRun::one_step(int64_t step) {
  auto [block, batch] = live_->place(step);
  const std::vector<at::Tensor>& values = live_->blocks->block(block);
  std::vector<at::Tensor> rows;
  for (size_t h = 0; h < values.size(); ++h) {
    at::Tensor part = values[h].slice(0, batch * plan_.batch, (batch + 1) * plan_.batch);
    rows.push_back(live_->factors[h] == 1.0 ? part : part * live_->factors[h]);
  }
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    std::vector<at::Tensor> x, target;
    for (const Member& m : plan_.groups[g].members) {
      x.push_back(rows[m.in]);
      target.push_back(rows[m.out]);
    }
    live_->reports[g].push_back(live_->trainers[g].step(x, target));
  }
}

void TrainRun::look(int64_t item, int64_t step) {
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    std::vector<StepReport>& reports = live_->reports[g];
    if (reports.empty()) continue;
    std::vector<at::Tensor> losses;
    for (const StepReport& r : reports) losses.push_back(r.loss.to(at::kDouble));
    at::Tensor host = at::stack(losses).to(at::kCPU);
    const double* loss = host.const_data_ptr<double>();
    for (int64_t i = 0; i < host.numel(); ++i) {
      if (std::isnan(live_->first_loss[g])) live_->first_loss[g] = loss[i];
      if (std::isfinite(loss[i]) && loss[i] <= 1e3 * std::abs(live_->first_loss[g])) continue;
      live_->diverged = true;
      throw Error(StatusCode::kFailed, (std::isfinite(loss[i]) ? "the loss has grown to more than 1,000 times its beginning at step " : "the loss is not a number at step ") +
                  std::to_string(step - host.numel() + i + 1) + " of " + plan_.groups[g].name, "training", "use a smaller --lr or a longer --warmup; the last good checkpoint is kept");
    }
    const StepReport& last = reports.back();
    int64_t dead = 0, features = 0;
    for (size_t m = 0; m < plan_.groups[g].members.size(); ++m) {
      dead += live_->trainers[g].dead(m);
      features += plan_.groups[g].members[m].config.d_sae;
    }
    live_->curve.push_back({static_cast<double>(g), static_cast<double>(step), static_cast<double>(step * plan_.batch), loss[host.numel() - 1], last.mse.item<double>(),
                            last.l0.item<double>() / static_cast<double>(plan_.groups[g].members.size()), static_cast<double>(dead) / static_cast<double>(features), last.norm.item<double>()});
    reports.clear();
  }
  if (partial_) partial_(item, [this] { return std::vector<NamedArray>{array_of("curve", live_->curve, kCurveColumns), array_of("evaluated", live_->evaluated, kEvalColumns)}; });
}

void TrainRun::evaluate(Progress& progress) {
  live_->evaluated.clear();
  bool better = false;
  std::vector<double> best = live_->best;              // kept when all is measured: a pause in between measures all again
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const Group& group = plan_.groups[g];
    auto set = std::make_shared<DictionarySet>();
    for (size_t m = 0; m < group.members.size(); ++m) {
      set->members.push_back(folded(live_->trainers[g].finished(m), live_->factors[group.members[m].in], live_->factors[group.members[m].out]));
      set->layers.push_back(layer_of_hook(group.members[m].config.hook_in));
    }
    progress.step(static_cast<int64_t>(g), static_cast<int64_t>(plan_.groups.size()), "measuring " + group.name);
    std::vector<MetricsAccumulator> sums;
    for (const Dictionary& d : set->members) sums.emplace_back(d.config.d_out, d.config.d_sae, input_.model.device());
    // Codes and outputs on held-out text, watched in the model itself: what a cross-layer set gives a layer is there as a whole.
    SpliceOptions options;
    options.watch_only = true;
    options.from = live_->from;
    options.watch = [&](const SpliceOptions::Place& place, const at::Tensor& target, const at::Tensor& out, const at::Tensor& codes) { sums[place.member].add(target, out, codes); };
    for (const at::Tensor& ids : live_->eval_batches) {
      progress.check();
      HookPlan plan;
      plan.form = input_.form;
      plan.logits = false;
      splice(plan, set, options);
      for (const Dictionary& d : set->members) plan.capture(d.config.hook_out);
      input_.model.forward(ids.to(input_.model.device()), plan);
    }
    LossOptions lo;
    lo.from = live_->from;
    lo.form = input_.form;
    lo.means = false;
    const CrossEntropy ce = splice_losses(input_.model, set, live_->eval_batches, lo, progress).total();
    double fvu = 0;
    for (size_t m = 0; m < sums.size(); ++m) {
      const DictionaryMetrics r = sums[m].result();
      fvu += r.fvu / static_cast<double>(sums.size());
      live_->evaluated.push_back({static_cast<double>(g), static_cast<double>(m), static_cast<double>(live_->step), static_cast<double>(live_->step * plan_.batch), r.l0, r.fvu, r.cosine, r.bias,
                                  static_cast<double>(live_->trainers[g].dead(m)) / static_cast<double>(group.members[m].config.d_sae), r.dense, ce.clean, ce.spliced, ce.zero, ce.recovered, ce.kl_spliced, ce.kl_recovered,
                                  static_cast<double>(r.tokens)});
    }
    if (fvu < 0.995 * best[g]) {
      best[g] = fvu;
      better = true;
    }
  }
  live_->best = std::move(best);
  live_->since_best = better ? 0 : live_->since_best + 1;
}

std::vector<NamedArray> TrainRun::item_arrays(bool last, Progress& progress) {
  if (last || !plan_.evaluate_ends) evaluate(progress);
  std::vector<NamedArray> out = {array_of("curve", live_->curve, kCurveColumns), array_of("evaluated", live_->evaluated, kEvalColumns),
                                 to_array("stopped", {"one"}, at::full({1}, live_->stopped ? 1 : 0, at::kLong))};
  if (last) {
    for (size_t g = 0; g < plan_.groups.size(); ++g)
      for (size_t m = 0; m < plan_.groups[g].members.size(); ++m) {
        const Member& member = plan_.groups[g].members[m];
        const Dictionary d = folded(live_->trainers[g].finished(m), live_->factors[member.in], live_->factors[member.out]);
        for (NamedArray& a : dictionary_artifact(d, "", "").arrays) {
          a.name = dictionary_prefix(g, m) + a.name;
          out.push_back(std::move(a));
        }
      }
    if (std::string problem = live_->blocks->problem(); !problem.empty()) progress.warn(problem);
  }
  live_->curve.clear();
  live_->evaluated.clear();
  return out;
}

std::vector<NamedArray> TrainRun::run_item(int64_t item, Progress& progress) {
  start(progress);
  const int64_t begin = item * plan_.checkpoint_every, end = std::min(plan_.steps, begin + plan_.checkpoint_every);
  for (; live_->step < end && !live_->stopped; ++live_->step) {
    if (live_->step % plan_.log_every == 0) {
      look(item, live_->step);
      progress.step(live_->step - begin, end - begin, "step " + std::to_string(live_->step) + " of " + std::to_string(plan_.steps));
    } else {
      progress.check();
    }
    one_step(live_->step);
  }
  look(item, live_->step);
  std::vector<NamedArray> out = item_arrays(item + 1 == item_count(), progress);
  if (plan_.patience > 0 && live_->since_best >= plan_.patience) live_->stopped = true;
  return out;
}

std::vector<NamedArray> TrainRun::state() {
  if (!live_ || live_->diverged) return {};
  // Losses that were not looked at yet go with it, so that the curve has the same points whenever a run was paused.
  std::vector<std::vector<double>> pending;
  for (size_t g = 0; g < live_->reports.size(); ++g)
    for (const StepReport& r : live_->reports[g]) {
      pending.push_back({static_cast<double>(g), r.loss.item<double>(), r.mse.item<double>(), r.l0.item<double>(), r.norm.item<double>()});
      if (!std::isfinite(pending.back()[1])) return {};
    }
  std::vector<double> numbers = {static_cast<double>(live_->step), static_cast<double>(live_->since_best), live_->stopped ? 1.0 : 0.0};
  numbers.insert(numbers.end(), live_->first_loss.begin(), live_->first_loss.end());
  numbers.insert(numbers.end(), live_->best.begin(), live_->best.end());
  std::vector<NamedArray> out = {to_array("numbers", {"value"}, at::tensor(numbers, at::kDouble)), array_of("curve", live_->curve, kCurveColumns),
                                 array_of("evaluated", live_->evaluated, kEvalColumns), array_of("pending", pending, kPendingColumns),
                                 kept_plan(plan_, live_->factors)};
  for (size_t g = 0; g < live_->trainers.size(); ++g)
    for (NamedArray& a : live_->trainers[g].state("trainer" + std::to_string(g) + ".")) out.push_back(std::move(a));
  return out;
}

void TrainRun::set_state(int64_t item, const std::vector<NamedArray>& state) {
  (void)item;
  resumed_ = state;
}

AnalysisResult TrainRun::finish(const std::vector<std::vector<NamedArray>>& items) { return training_result(plan_, items, true); }

std::optional<AnalysisResult> TrainRun::preview(const std::vector<std::vector<NamedArray>>& items) { return training_result(plan_, items, false); }

}  // namespace microtome::training

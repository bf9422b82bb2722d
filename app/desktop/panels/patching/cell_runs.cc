#include "app/desktop/panels/patching/cell_runs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// Of the two texts so many are looked at that nearly every token a patched run names is found there.
constexpr int64_t kLooked = 500, kTop = 8;
constexpr size_t kMostAsked = 4096, kKept = 64;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<int64_t> some(const std::vector<int64_t>& ids) {
  return std::vector<int64_t>(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), kMostAsked)));
}

}  // namespace

double CellRuns::metricOf(const std::string& metric, const app::NextTokens& tokens, size_t answers) {
  const std::vector<app::NextToken>& all = tokens.asked;
  if (answers == 0 || answers > all.size()) return kNaN;
  const size_t wrong = all.size() - answers;
  double logits[2] = {0, 0}, probability[2] = {0, 0};
  for (size_t i = 0; i < all.size(); ++i) {
    logits[i >= answers] += all[i].logit;
    probability[i >= answers] += all[i].probability;
  }
  if (metric == "answer_logprob") return std::log(probability[0]);
  if (wrong == 0) return kNaN;
  if (metric == "logit_diff") return logits[0] / static_cast<double>(answers) - logits[1] / static_cast<double>(wrong);
  if (metric == "greater_than") return probability[0] - probability[1];
  return kNaN;
}

std::vector<int64_t> CellRuns::asked() const {
  std::vector<int64_t> out = answers_;
  out.insert(out.end(), wrong_.begin(), wrong_.end());
  return out;
}

void CellRuns::forget() {
  ++ticket_;
  base_ = {};
  cell_.reset();
  answers_.clear();
  wrong_.clear();
  clean_ = corrupted_ = patched_ = {};
  kept_.clear();
}

void CellRuns::ask(const app::ModelPtr& model, const PromptPair& pair, const std::optional<app::CellRequest>& cell) {
  if (!session_.engine() || !model) return;
  Base base{model, pair.clean_ids, pair.corrupted_ids, some(pair.answer_ids), some(pair.wrong_ids)};
  if (!(base == base_)) {
    forget();
    base_ = std::move(base);
    answers_ = base_.answers;
    wrong_ = base_.wrong;
  }
  if (!clean_.asked && !base_.clean.empty()) askText(false);
  if (!corrupted_.asked && !base_.corrupted.empty()) askText(true);
  std::optional<Cell> wanted;
  if (cell) wanted = Cell{cell->site, cell->direction, cell->layer, cell->head, cell->pos};
  if (wanted == cell_ && (!wanted || patched_.asked)) return;
  cell_ = wanted;
  patched_ = {};
  if (!cell) return;
  for (auto it = kept_.begin(); it != kept_.end(); ++it) {
    if (!(it->first == *cell_)) continue;
    patched_ = {true, true, it->second, {}};
    kept_.splice(kept_.begin(), kept_, it);
    ++ticket_;                         // an older cell may still be under way
    return;
  }
  askCell(pair, *cell);
}

void CellRuns::askText(bool corrupted) {
  (corrupted ? corrupted_ : clean_).asked = true;
  const Base base = base_;
  app::Engine* engine = session_.engine();
  session_.post(
      tr("Next tokens"), QStringLiteral("light"), this,
      [engine, base, corrupted, ids = asked()](Progress& p) {
        p.check();
        return engine->next_tokens(*base.model, corrupted ? base.corrupted : base.clean, kLooked, ids);
      },
      [this, base, corrupted](const Result<app::NextTokens>& given) {
        if (!(base == base_)) return;
        CellRun& run = corrupted ? corrupted_ : clean_;
        if (given) run = {true, true, given.value(), {}};
        else if (given.status().code() == StatusCode::kCancelled) run = {};
        else run.problem = labelText(given.status().text(), 300);
        Q_EMIT changed();
      },
      corrupted ? QStringLiteral("patching-corrupted") : QStringLiteral("patching-clean"));
}

void CellRuns::askCell(const PromptPair& pair, const app::CellRequest& cell) {
  patched_.asked = true;
  const int ticket = ++ticket_;
  app::Engine* engine = session_.engine();
  session_.post(
      tr("Next tokens with %1 of layer %2 patched").arg(labelText(cell.site, 40)).arg(cell.layer), QStringLiteral("light"), this,
      [engine, model = base_.model, pair, cell, ids = asked()](Progress& p) {
        p.check();
        return engine->patched_tokens(*model, pair, cell, kTop, ids);
      },
      [this, ticket](const Result<app::NextTokens>& given) {
        if (ticket != ticket_ || !cell_) return;
        if (given) {
          patched_ = {true, true, given.value(), {}};
          kept_.push_front({*cell_, given.value()});
          if (kept_.size() > kKept) kept_.pop_back();
        } else if (given.status().code() == StatusCode::kCancelled) {
          patched_ = {};
        } else {
          patched_.problem = labelText(given.status().text(), 300);
        }
        Q_EMIT changed();
      },
      QStringLiteral("patching-cell"));
}

}  // namespace microtome::desktop

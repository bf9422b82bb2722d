#include "app/desktop/panels/prompts/next_tokens.h"

#include <algorithm>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// Ranks are known up to here; more would be texts for nobody.
constexpr int64_t kLooked = 500;
constexpr size_t kMostAsked = 200;

std::vector<int64_t> some(const std::vector<int64_t>& ids) {
  return std::vector<int64_t>(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), kMostAsked)));
}

RowMark markOf(const app::ModelFacts& facts) {
  bool softmax = false, recurrent = false;
  for (const app::LayerFacts& l : facts.layers) (l.recurrent ? recurrent : softmax) = true;
  if (softmax && recurrent) return RowMark::kBoth;
  return recurrent ? RowMark::kRecurrent : softmax ? RowMark::kSoftmax : RowMark::kNone;
}

bool wants(AfterPrompt after, bool corrupted) {
  return after == AfterPrompt::kBoth || (after == AfterPrompt::kCorrupted) == corrupted;
}

}  // namespace

NextTokenSource::Question NextTokenSource::questionFor(const app::ModelPtr& model, const PromptPair& pair, bool corrupted) {
  return {model, corrupted ? pair.corrupted_ids : pair.clean_ids, some(pair.answer_ids), some(pair.wrong_ids)};
}

void NextTokenSource::ask(AfterPrompt after) {
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    const app::ModelPtr model = session_.model(slot);
    const PromptPair* pair = session_.currentPair(slot);
    for (const bool corrupted : {false, true}) {
      Answer& a = answers_[slot][corrupted];
      if (!model || !pair) {
        a = {};
        continue;
      }
      Question q = questionFor(model, *pair, corrupted);
      if (!(q == a.question)) {
        a = {};
        a.question = std::move(q);
      }
      if (wants(after, corrupted) && !a.asked && !a.question.ids.empty() && session_.engine()) post(slot, corrupted);
    }
  }
  Q_EMIT changed();
}

void NextTokenSource::post(int slot, bool corrupted) {
  Answer& a = answers_[slot][corrupted];
  a.asked = true;
  const Question q = a.question;
  app::Engine* engine = session_.engine();
  session_.post(
      tr("Next tokens"), QStringLiteral("light"), this,
      [engine, q](Progress& p) {
        p.check();
        std::vector<int64_t> asked = q.right;
        asked.insert(asked.end(), q.wrong.begin(), q.wrong.end());
        return engine->next_tokens(*q.model, q.ids, kLooked, asked);
      },
      [this, slot, corrupted, q](const Result<app::NextTokens>& given) {
        Answer& now = answers_[slot][corrupted];
        if (!(now.question == q)) return;
        if (given) {
          now.tokens = given.value();
          now.known = true;
        } else if (given.status().code() == StatusCode::kCancelled) {
          now.asked = false;           // by the job list; asked again with the next refresh
          now.problem = tr("Cancelled.");
        } else {
          now.problem = labelText(given.status().text(), 300);
        }
        Q_EMIT changed();
      },
      QStringLiteral("next-tokens-%1-%2").arg(slot).arg(corrupted));
}

std::vector<NextTokenColumn> NextTokenSource::columns(AfterPrompt after) const {
  std::vector<NextTokenColumn> out;
  if (session_.prompts().source.kind == PromptSource::Kind::kNone) return out;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    const app::ModelPtr model = session_.model(slot);
    if (!model) continue;
    for (const bool corrupted : {false, true}) {
      if (!wants(after, corrupted)) continue;
      const Answer& a = answers_[slot][corrupted];
      NextTokenColumn c;
      c.model = labelText(model->facts().name, 80);
      c.prompt = corrupted ? tr("corrupted") : tr("clean");
      c.mark = markOf(model->facts());
      c.looked = kLooked;
      if (!session_.currentPair(slot))
        c.remark = session_.prompts().problem[slot].isEmpty() ? tr("tokenising…") : session_.prompts().problem[slot];
      else if (a.question.ids.empty())
        c.remark = corrupted ? tr("There is no corrupted prompt.") : tr("The prompt has no tokens.");
      else if (!a.problem.isEmpty()) c.remark = a.problem;
      else if (!a.known) c.remark = tr("computing…");
      else {
        c.top = a.tokens.top;
        c.rightIds = a.question.right;
        c.wrongIds = a.question.wrong;
        c.asked = rankAsked(a.tokens, a.question.right.size());
        c.entropy = a.tokens.entropy;
      }
      out.push_back(std::move(c));
    }
  }
  return out;
}

}  // namespace microtome::desktop

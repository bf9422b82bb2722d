#include "app/desktop/panels/prompts/prompt_check.h"

#include <QCoreApplication>
#include <QStringList>
#include <algorithm>
#include <map>
#include <set>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "core/base/status.h"
#include "core/tasks/prompt.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("Prompts", text); }

// A piece as a person reads it, in quotes, blanks visible.
QString shown(const std::string& text) {
  QString s = visibleToken(QString::fromStdString(text.substr(0, 400)));
  if (s.size() > 40) s = s.left(40) + QChar(0x2026);
  return QStringLiteral("“%1”").arg(s);
}

class Checker {
 public:
  Checker(CheckedPrompt& out, const Tokenizer* tokenizer) : out_(out), tokenizer_(tokenizer) {}

  void run() {
    PromptPair& p = out_.pair;
    cut(p.clean, p.clean_ids, PromptField::kClean);
    cut(p.corrupted, p.corrupted_ids, PromptField::kCorrupted);
    if (!p.corrupted_ids.empty() && !p.clean_ids.empty() && p.corrupted_ids.size() != p.clean_ids.size())
      fault(PromptField::kCorrupted, tr("clean has %1 tokens and corrupted %2: make both equally long")
                                         .arg(p.clean_ids.size())
                                         .arg(p.corrupted_ids.size()));
    answers(p.answers, p.answer_ids, PromptField::kAnswer);
    answers(p.wrong_answers, p.wrong_ids, PromptField::kWrong);
    const std::set<int64_t> right(p.answer_ids.begin(), p.answer_ids.end());
    for (size_t i = 0; i < p.wrong_ids.size(); ++i)
      if (right.count(p.wrong_ids[i]))
        fault(PromptField::kWrong,
              tr("%1 is both a right and a wrong answer: keep it in one place").arg(tokenText(p.wrong_ids[i])));
    out_.clean = chips(p.clean_ids, p.corrupted_ids, true);
    out_.corrupted = chips(p.corrupted_ids, p.clean_ids, false);
  }

 private:
  void fault(PromptField field, const QString& sentence) {
    if (out_.fault != PromptField::kNone) return;  // the first is what to mend first
    out_.fault = field;
    out_.problem = sentence;
  }

  void cut(const std::string& text, std::vector<int64_t>& ids, PromptField field) {
    if (!ids.empty() || text.empty()) return;
    if (!tokenizer_) return fault(field, tr("the model folder holds no tokenizer.json: open a file of token ids"));
    const Status s = catch_status([&] { ids = tasks::encode_prompt(*tokenizer_, text, BosMode::kAuto).ids; });
    if (!s) fault(field, labelText(s.text(), 300));
  }

  // As tokenise() in core/tasks judges them: after the clean prompt, or alone.
  void answers(const std::vector<std::string>& texts, std::vector<int64_t>& ids, PromptField field) {
    if (!ids.empty() || texts.empty() || !tokenizer_) return;
    std::vector<int64_t> found;
    const Status s = catch_status([&] {
      const PromptPair& p = out_.pair;
      const bool inContext = !p.clean.empty() && !p.clean_ids.empty() && p.clean.size() < 100'000;
      for (const std::string& text : texts) {
        std::optional<int64_t> id;
        if (inContext) id = tasks::following_token(*tokenizer_, p.clean, p.clean_ids, text, BosMode::kAuto);
        if (!id) id = tokenizer_->single_token(text);
        if (!id) return notSingle(text, field);
        found.push_back(*id);
      }
    });
    if (!s) fault(field, labelText(s.text(), 300));
    if (found.size() == texts.size()) ids = std::move(found);
  }

  void notSingle(const std::string& text, PromptField field) {
    const Encoding e = tokenizer_->encode(text, false);
    QStringList pieces;
    for (size_t i = 0; i < e.ids.size() && i < 6; ++i) pieces << shown(tokenizer_->display(e.ids[i]));
    if (e.ids.size() > 6) pieces << QStringLiteral("…");
    const QString what = field == PromptField::kAnswer ? tr("the answer %1") : tr("the wrong answer %1");
    fault(field, tr("%1 is %2 tokens (%3): choose one that is a single token, mostly with a blank before it")
                     .arg(what.arg(shown(text)), QString::number(e.ids.size()), pieces.join(QStringLiteral(", "))));
  }

  QString tokenText(int64_t id) const { return shown(spelled(id)); }

  std::string spelled(int64_t id) const {
    std::string text = "#" + std::to_string(id);
    if (tokenizer_ && id >= 0 && id < tokenizer_->vocab_size()) catch_status([&] { text = tokenizer_->display(id); });
    return text;
  }

  std::vector<TokenChip> chips(const std::vector<int64_t>& ids, const std::vector<int64_t>& other, bool withNotes) const {
    std::map<int64_t, QStringList> notes;
    if (withNotes)
      for (const auto& [label, index] : out_.pair.positions) notes[index] << labelText(label, 40);
    const size_t n = std::min(ids.size(), kMostChips);
    const std::optional<int64_t> start = tokenizer_ ? tokenizer_->bos_id() : std::nullopt;
    std::vector<TokenChip> out;
    out.reserve(n + 1);
    for (size_t i = 0; i < n; ++i) {
      TokenChip c;
      c.id = ids[i];
      c.text = QString::fromStdString(spelled(ids[i]));
      c.special = start && *start == ids[i] && i == 0;
      c.differs = !other.empty() && (i >= other.size() || other[i] != ids[i]);
      if (const auto note = notes.find(static_cast<int64_t>(i)); note != notes.end())
        c.note = note->second.join(QStringLiteral(", "));
      out.push_back(std::move(c));
    }
    if (ids.size() > n) {
      TokenChip rest;
      rest.text = tr("… %1 more").arg(ids.size() - n);
      rest.special = true;
      out.push_back(std::move(rest));
    }
    return out;
  }

  CheckedPrompt& out_;
  const Tokenizer* tokenizer_;
};

}  // namespace

size_t textSize(const PromptPair& pair) {
  // An answer is cut behind the clean prompt, each one anew.
  size_t n = pair.clean.size() + pair.corrupted.size();
  for (const auto* list : {&pair.answers, &pair.wrong_answers})
    for (const std::string& s : *list) n += s.size() + pair.clean.size();
  return n;
}

CheckedPrompt checkPrompt(PromptPair pair, const Tokenizer* tokenizer) {
  CheckedPrompt out;
  out.pair = std::move(pair);
  Checker(out, tokenizer).run();
  return out;
}

}  // namespace microtome::desktop

// Prompts: typed, from a task, from a file; tokenised for each open model.
#include <QFileInfo>

#include "app/desktop/session/session_impl.h"

namespace microtome::desktop {
namespace {

struct Made {
  Dataset text;
  std::shared_ptr<const Dataset> tokens;
};

// The prompts as one model's tokenizer has them. Runs in a worker; throws Error.
Made makeFor(const app::OpenModel& model, const PromptSource& source, const Dataset& text) {
  Made out;
  if (source.kind == PromptSource::Kind::kTask) {
    if (!model.tokenizer())
      throw Error(StatusCode::kNotFound, "the model folder holds no tokenizer.json", model.facts().folder, "a task needs one; open a file of token ids");
    GenerateOptions o;
    o.count = source.count;
    o.seed = source.seed;
    o.templates = utf8(source.templates);
    out.text = generate_task(utf8(source.task), *model.tokenizer(), o).value();
    out.tokens = std::make_shared<const Dataset>(out.text);
    return out;
  }
  out.text = text;
  Dataset tokens = text;
  Status s = microtome::tokenise(tokens, model.tokenizer(), BosMode::kAuto, model.facts().vocab_size, false);
  if (!s) throw Error(s);
  out.tokens = std::make_shared<const Dataset>(std::move(tokens));
  return out;
}

}  // namespace

void Session::setTyped(const PromptPair& pair) {
  PromptSource source;
  source.kind = PromptSource::Kind::kTyped;
  pushPrompts(tr("edit prompt"), source, typed_dataset(pair));
}

void Session::setTask(const PromptSource& source) {
  if (!models_[0]) {
    Q_EMIT problem(QStringLiteral("prompts"), tr("A task makes prompts for a model's tokenizer: open a model first."));
    return;
  }
  pushPrompts(tr("task %1").arg(source.task), source, {});
}

void Session::setFile(const QString& path) {
  const QString absolute = QFileInfo(path).absoluteFilePath();
  post(tr("Reading %1").arg(QFileInfo(path).fileName()), QStringLiteral("light"), this,
       [absolute](Progress&) { return read_dataset(utf8(absolute)).value(); },
       [this, absolute](const Result<Dataset>& read) {
         if (!read) {
           Q_EMIT problem(QStringLiteral("prompts"), sentenceOf(read.status()));
           return;
         }
         PromptSource source;
         source.kind = PromptSource::Kind::kFile;
         source.file = absolute;
         source.count = static_cast<int>(read.value().pairs.size());
         pushPrompts(tr("prompts of %1").arg(QFileInfo(absolute).fileName()), source, read.value());
       });
}

void Session::pushPrompts(const QString& title, const PromptSource& source, Dataset text) {
  const PromptSource before = prompts_.source;
  const Dataset beforeText = prompts_.text;
  undo_.push(new EditCommand(title, [this, source, text] { applyPrompts(source, text); },
                             [this, before, beforeText] { applyPrompts(before, beforeText); }));
}

void Session::applyPrompts(const PromptSource& source, const Dataset& text) {
  ++impl_->generation;
  prompts_.source = source;
  prompts_.text = text;
  selection_.setPrompt(0);
  selection_.setPosition(-1);
  for (int slot = 0; slot < kSlots; ++slot) {
    prompts_.bySlot[slot].reset();
    prompts_.problem[slot].clear();
    if (models_[slot]) tokenise(slot);
  }
  Q_EMIT promptsChanged();
}

void Session::tokenise(int slot) {
  if (prompts_.source.kind == PromptSource::Kind::kNone || !models_[slot]) return;
  const app::ModelPtr model = models_[slot];
  const PromptSource source = prompts_.source;
  const Dataset text = prompts_.text;
  const int generation = impl_->generation;
  post(tr("Tokenising"), QStringLiteral("light"), this,
       [model, source, text](Progress&) { return makeFor(*model, source, text); },
       [this, slot, generation, model](const Result<Made>& made) {
         if (generation != impl_->generation || models_[slot] != model) return;
         if (made) {
           prompts_.bySlot[slot] = made.value().tokens;
           prompts_.problem[slot].clear();
           // A task's words are known once a tokenizer has chosen them; the first model's stand for the text.
           if (slot == 0 || prompts_.text.pairs.empty()) prompts_.text = made.value().text;
         } else {
           prompts_.bySlot[slot].reset();
           prompts_.problem[slot] = sentenceOf(made.status());
           Q_EMIT problem(QStringLiteral("prompts"), prompts_.problem[slot]);
         }
         Q_EMIT promptsChanged();
       }, QStringLiteral("tokenise-%1").arg(slot));
}

const PromptPair* Session::currentPair(int slot) const {
  if (slot < 0 || slot >= kSlots || !prompts_.bySlot[slot]) return nullptr;
  const auto& pairs = prompts_.bySlot[slot]->pairs;
  const int index = selection_.prompt();
  return index >= 0 && static_cast<size_t>(index) < pairs.size() ? &pairs[static_cast<size_t>(index)] : nullptr;
}

}  // namespace microtome::desktop

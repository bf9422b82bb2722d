#include "app/desktop/panels/inspector/run_section.h"

#include <QClipboard>
#include <QGuiApplication>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/desktop/panels/panel.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

// {"microtome": "0.1.0", "libtorch": "2.1"} as "microtome 0.1.0, libtorch 2.1"; anything else as one line.
QString versionsText(const std::string& json) {
  const Result<Json> read = parse_json(json, "versions");
  if (!read || !read.value().is_object()) return labelText(json, 200);
  QStringList out;
  for (const auto& [name, value] : read.value().items()) {
    // A plug-in by its file's name: the folder is this machine's.
    QString text = value.is_string() ? labelText(value.get<std::string>(), 200) : labelText(value.dump(), 60);
    out << labelText(name, 40) + QLatin1Char(' ') + text.section(QLatin1Char('/'), -1);
  }
  return out.join(QStringLiteral(", "));
}

QPlainTextEdit* editor(QWidget* parent, const char* name, int lines) {
  auto* edit = new QPlainTextEdit(parent);
  edit->setObjectName(QString::fromLatin1(name));
  edit->setTabChangesFocus(true);
  edit->setWordWrapMode(QTextOption::WrapAtWordBoundaryOrAnywhere);
  edit->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  edit->setFixedHeight(lines * QFontMetrics(edit->font()).lineSpacing() + 2 * kGrid);
  return edit;
}

}  // namespace

RunSection::RunSection(Panel& panel, QWidget* parent) : Section(tr("Run"), parent), panel_(panel), session_(panel.session()) {
  setObjectName(QStringLiteral("section_run"));
  definition_ = wrappedLabel(this);
  definition_->setObjectName(QStringLiteral("definition"));
  source_ = wrappedLabel(this, "muted");
  body()->insertWidget(1, definition_);
  body()->insertWidget(2, source_);

  auto* row = new QHBoxLayout;
  auto* label = new QLabel(tr("Command"), this);
  label->setProperty("role", QStringLiteral("muted"));
  auto* copy = new QToolButton(this);
  copy->setObjectName(QStringLiteral("copy"));
  copy->setText(tr("Copy"));
  copy->setToolTip(tr("Copy the command that repeats the run"));
  copy->setFocusPolicy(Qt::StrongFocus);
  row->addWidget(label, 1);
  row->addWidget(copy);
  body()->addLayout(row);
  command_ = editor(this, "command", 4);
  command_->setReadOnly(true);
  command_->setFont(monoFont(-1));
  command_->setAccessibleName(tr("The command that repeats the run"));
  body()->addWidget(command_);

  auto* noteLabel = new QLabel(tr("Note"), this);
  noteLabel->setProperty("role", QStringLiteral("muted"));
  body()->addWidget(noteLabel);
  note_ = editor(this, "note", 3);
  note_->setPlaceholderText(tr("What this run shows"));
  note_->setAccessibleName(tr("Note on the run"));
  note_->installEventFilter(this);
  body()->addWidget(note_);
  noteHint_ = wrappedLabel(this, "muted");
  noteHint_->setText(tr("Ctrl+Enter keeps it, Esc takes it back."));
  noteHint_->hide();
  body()->addWidget(noteHint_);
  viewNotes_ = new QWidget(this);
  viewNotes_->setObjectName(QStringLiteral("view_notes"));
  auto* notesColumn = new QVBoxLayout(viewNotes_);
  notesColumn->setContentsMargins(0, 0, 0, 0);
  notesColumn->setSpacing(kGrid / 2);
  body()->addWidget(viewNotes_);

  connect(copy, &QToolButton::clicked, this, [this] {
    QGuiApplication::clipboard()->setText(command_->toPlainText());
    panel_.showNotice(tr("The command is on the clipboard."));
  });
  connect(note_, &QPlainTextEdit::textChanged, this,
          [this] { noteHint_->setVisible(note_->document()->isModified() && note_->hasFocus()); });
}

void RunSection::show(qint64 run) {
  if (run != run_) keepNote();
  const RunRecord* record = run != 0 ? session_.findRun(run) : nullptr;
  const bool other = run != run_;
  run_ = record ? run : 0;
  setVisible(record != nullptr);
  if (!record) return;
  if (other) attempts_.clear();
  fill(*record);
  if (const QString note = QString::fromStdString(record->note);
      other || (!note_->document()->isModified() && note_->toPlainText() != note)) {
    note_->setPlainText(note);
    note_->document()->setModified(false);
    noteHint_->hide();
  }
  fillNotes(run);
  // Attempts change with the state.
  const std::string wanted = std::to_string(run) + "/" + std::to_string(static_cast<int>(record->state)) + "/" +
                             std::to_string(record->items_done);
  const std::shared_ptr<ResultStore> store = session_.store();
  if (wanted == asked_ || !store) return;
  asked_ = wanted;
  session_.post(
      tr("Reading run %1").arg(run), QStringLiteral("store"), this,
      [store, run](Progress&) { return store->attempts(run).value(); },
      [this, run, wanted](const Result<std::vector<AttemptRecord>>& attempts) {
        if (wanted != asked_ || run != run_ || !attempts) return;
        attempts_ = attempts.value();
        if (const RunRecord* r = session_.findRun(run)) fill(*r);
      });
}

void RunSection::fill(const RunRecord& record) {
  const app::AnalysisFacts* a = session_.findAnalysis(QString::fromStdString(record.analysis));
  setHeadline(QStringLiteral("%1 · %2").arg(record.id).arg(runTitle(record)));
  definition_->setText(a ? labelText(a->info.definition, 2000)
                         : tr("The analysis '%1' is not installed here.").arg(labelText(record.analysis, 80)));
  source_->setText(a && !a->info.source.empty() ? tr("Source: %1").arg(labelText(a->info.source, 400)) : QString());
  source_->setVisible(!source_->text().isEmpty());
  std::vector<FactRow> rows;
  const auto add = [&](const QString& name, const QString& value, const QString& tip = {}, bool mono = false) {
    if (!value.isEmpty()) rows.push_back({name, value, tip, mono, false, {}});
  };
  if (!record.deleted.empty()) add(tr("Trash"), tr("since %1").arg(longTime(record.deleted)));
  add(tr("State"), runStateText(record));
  add(tr("Model"), runModel(record), labelText(record.spec.model_path, 300));
  add(tr("Prompts"), runDataset(record), tr("SHA-256 %1").arg(labelText(record.spec.dataset_hash, 64)));
  for (const auto& [name, value] : record.spec.answer_params) {
    const ParamSpec* p = a ? a->schema.find(name) : nullptr;
    add(nameText(name), value.empty() ? tr("(empty)") : labelText(value, 300), p ? labelText(p->help, 500) : QString());
  }
  for (const auto& [name, value] : record.spec.cost_params)
    add(nameText(name), labelText(value, 120), tr("Changes how long a run takes, never its answer"));
  if (record.spec.seed) add(tr("Seed"), QString::number(record.spec.seed));
  add(tr("Key"), QString::fromStdString(record.key_hash).left(12),
      tr("SHA-256 of all that affects the answer: %1").arg(labelText(record.key_hash, 64)), true);
  add(tr("Made"), longTime(record.created));
  if (!attempts_.empty()) {
    const AttemptRecord& last = attempts_.back();
    double seconds = 0;
    for (const AttemptRecord& t : attempts_) seconds += t.seconds;
    add(tr("Device"), labelText(last.device, 60));
    add(tr("Took"), attempts_.size() == 1 ? durationText(seconds)
                                          : tr("%1 in %2 attempts").arg(durationText(seconds)).arg(attempts_.size()));
    add(tr("Versions"), versionsText(last.versions));
    add(tr("Error"), labelText(last.error, 400));
    if (last.events.size() > 2) add(tr("Events"), labelText(last.events, 400));
  }
  facts()->setRows(rows);
  const QString command = QString::fromStdString(record.command);
  if (command_->toPlainText() != command) command_->setPlainText(command);
}

void RunSection::fillNotes(qint64 run) {
  const auto notes = session_.viewNotes(run);
  QString all = QString::number(run);
  for (const auto& [artifact, note] : notes) all += QChar(1) + QString::fromStdString(artifact) + QChar(1) + QString::fromStdString(note);
  if (all == shownNotes_) return;
  shownNotes_ = all;
  QLayout* column = viewNotes_->layout();
  while (QLayoutItem* item = column->takeAt(0)) {
    if (item->widget()) {
      item->widget()->hide();
      item->widget()->deleteLater();
    }
    delete item;
  }
  for (const auto& [artifact, note] : notes) {
    const QString name = QString::fromStdString(artifact);
    QLabel* label = wrappedLabel(viewNotes_, "muted");
    label->setText(tr("Note on %1").arg(nameText(artifact)));
    auto* field = new QLineEdit(QString::fromStdString(note).replace(QLatin1Char('\n'), QLatin1Char(' ')), viewNotes_);
    field->setObjectName(QStringLiteral("note_") + name);
    field->setAccessibleName(label->text());
    field->setToolTip(tipText(labelText(note, 1000)));
    field->setCursorPosition(0);
    field->setMaxLength(4000);
    // An empty text takes the note away; what was not edited keeps its lines.
    connect(field, &QLineEdit::editingFinished, this, [this, run, name, field] {
      if (field->isModified()) session_.setViewNote(run, name, field->text().trimmed());
      field->setModified(false);
    });
    column->addWidget(label);
    column->addWidget(field);
  }
  viewNotes_->setVisible(!notes.empty());
}

void RunSection::keepNote() {
  if (run_ == 0 || !note_->document()->isModified()) return;
  note_->document()->setModified(false);
  noteHint_->hide();
  session_.setNote(run_, note_->toPlainText().trimmed());
}

bool RunSection::eventFilter(QObject* object, QEvent* event) {
  if (object == note_ && event->type() == QEvent::FocusOut) keepNote();
  if (object == note_ && event->type() == QEvent::KeyPress) {
    auto* key = static_cast<QKeyEvent*>(event);
    if ((key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter) && key->modifiers() & Qt::ControlModifier) {
      keepNote();
      return true;
    }
    if (key->key() == Qt::Key_Escape) {
      const RunRecord* r = session_.findRun(run_);
      note_->setPlainText(r ? QString::fromStdString(r->note) : QString());
      note_->document()->setModified(false);
      noteHint_->hide();
      return true;
    }
  }
  return Section::eventFilter(object, event);
}

}  // namespace microtome::desktop

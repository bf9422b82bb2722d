// Prompts: the clean and the corrupted prompt with their tokens, where prompts come from, and what the open models say next.
#include "app/desktop/panels/panel.h"

#include <QAction>
#include <QActionGroup>
#include <QDataStream>
#include <QFileDialog>
#include <QFileInfo>
#include <QLineEdit>
#include <QMenu>
#include <QSpinBox>
#include <QStackedWidget>
#include <QToolButton>

#include "app/desktop/panels/prompts/load_row.h"
#include "app/desktop/panels/prompts/next_tokens.h"
#include "app/desktop/panels/prompts/prompt_editor.h"
#include "app/desktop/panels/prompts/token_rows.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

using SourceKind = PromptSource::Kind;

// One muted line that gives way.
class QuietLine : public QWidget {
 public:
  explicit QuietLine(QWidget* parent) : QWidget(parent) { setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred); }
  void setText(const QString& text) {
    if (text == text_) return;
    text_ = text;
    setToolTip(tipText(text));
    setAccessibleName(text);
    update();
  }
  const QString& text() const { return text_; }
  QSize sizeHint() const override { return {10 * kGrid, QFontMetrics(font()).height()}; }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter p(this);
    p.setPen(Theme::of(this).muted);
    p.drawText(rect(), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextSingleLine,
               QFontMetrics(font()).elidedText(text_, Qt::ElideRight, width()));
  }

 private:
  QString text_;
};

class PromptsPanel : public Panel {
 public:
  PromptsPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QSize sizeHint() const override { return {95 * kGrid, 25 * kGrid}; }
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;
  void resizeEvent(QResizeEvent* event) override;
  void showEvent(QShowEvent* event) override;

 private:
  QWidget* makeToolbar(QWidget* parent);
  void showPair();                     // what is in use into the fields
  void showSource();
  void showNext();
  void divide();                       // the halves by the number of columns, until a person moves the border
  void setEditing(bool on);
  void step(int by);
  void chooseFile();
  int slot() const { return session().model(session().selection().model()) ? session().selection().model() : 0; }
  void makeAfterButton();
  void setAfter(AfterPrompt after);

  QStackedWidget* stack_;
  EmptyState* empty_;
  QSplitter* splitter_;
  QToolButton *previous_, *next_, *edit_, *loadButton_, *discard_, *afterButton_;
  QPushButton* use_;
  QSpinBox* index_;
  QuietLine* sourceLine_;
  LoadRow* load_;
  PromptEditor* editor_;
  NextTokenView* nextView_;
  NextTokenSource* nextSource_;
  SourceKind kind_ = SourceKind::kNone;
  AfterPrompt after_ = AfterPrompt::kClean;
  size_t columnCount_ = 0;
  int fittedTo_ = -1;                  // width of the panel when the halves were last divided; 0: by a person
  bool pairStale_ = true;
};

PromptsPanel::PromptsPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  stack_->addWidget(empty_);
  splitter_ = new QSplitter(Qt::Horizontal, stack_);
  splitter_->setChildrenCollapsible(false);
  splitter_->setHandleWidth(1);
  auto* left = new QWidget(splitter_);
  auto* column = new QVBoxLayout(left);
  column->setContentsMargins(0, 0, kGrid, 0);
  column->setSpacing(kGrid / 2);
  column->addWidget(makeToolbar(left));
  load_ = new LoadRow(left);
  load_->hide();
  column->addWidget(load_);
  editor_ = new PromptEditor(session, left);
  column->addWidget(editor_, 1);
  splitter_->addWidget(left);
  auto* right = new QWidget(splitter_);
  auto* rightColumn = new QVBoxLayout(right);
  rightColumn->setContentsMargins(kGrid, 0, 0, 0);
  nextView_ = new NextTokenView(right);
  nextView_->setHint(tr("What the model says next appears here."));
  rightColumn->addWidget(nextView_);
  splitter_->addWidget(right);
  splitter_->setStretchFactor(0, 3);
  splitter_->setStretchFactor(1, 2);
  stack_->addWidget(splitter_);
  body()->setContentsMargins(kGrid, kGrid / 2, kGrid, kGrid / 2);
  body()->addWidget(stack_, 1);
  nextSource_ = new NextTokenSource(session, this);
  makeAfterButton();
  adopt(nextView_);
  adopt(editor_->rows()->clean());
  adopt(editor_->rows()->corrupted());
  editor_->rows()->clean()->setTitle(tr("clean prompt"));
  editor_->rows()->corrupted()->setTitle(tr("corrupted prompt"));
  editor_->rows()->setHint(tr("Type a prompt and press Enter, or load a task."));

  connect(empty_, &EmptyState::pressed, &session, [this] { this->session().openDemo(); });
  connect(nextSource_, &NextTokenSource::changed, this, [this] { showNext(); });
  connect(editor_, &PromptEditor::dirtyChanged, this, [this](bool dirty) {
    use_->setVisible(dirty);
    discard_->setVisible(dirty);
    nextView_->setStale(dirty);
  });
  connect(editor_, &PromptEditor::used, &session, [this](const PromptPair& pair) { this->session().setTyped(pair); });
  connect(editor_, &PromptEditor::editWanted, this, [this] { setEditing(true); });
  connect(editor_->rows(), &TokenRows::tokenClicked, this,
          [this](qint64 position) { this->session().selection().setPosition(static_cast<int>(position)); });
  connect(load_, &LoadRow::taskWanted, this, [this](const PromptSource& source) {
    loadButton_->setChecked(false);
    this->session().setTask(source);
  });
  connect(load_, &LoadRow::fileWanted, this, [this] { chooseFile(); });

  const auto pairChanged = [this] {
    pairStale_ = true;
    scheduleRefresh();
  };
  connect(&session, &Session::promptsChanged, this, pairChanged);
  connect(&session.selection(), &Selection::promptChanged, this, pairChanged);
  connect(&session.selection(), &Selection::modelChanged, this, pairChanged);
  connect(&session, &Session::modelChanged, this, pairChanged);
  connect(&session, &Session::openingChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&session.selection(), &Selection::positionChanged, this,
          [this](int query, int) { editor_->rows()->setSelected(query); });
  connect(splitter_, &QSplitter::splitterMoved, this, [this] { fittedTo_ = 0; });
  setEditing(true);
  setAfter(AfterPrompt::kClean);
  refresh();
}

QWidget* PromptsPanel::makeToolbar(QWidget* parent) {
  auto* bar = new QWidget(parent);
  auto* row = new QHBoxLayout(bar);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid / 2);
  const auto button = [&](const char* id, const QString& text, const QString& tip) {
    auto* b = new QToolButton(bar);
    b->setObjectName(QString::fromLatin1(id));
    b->setText(text);
    b->setAutoRaise(true);
    b->setFocusPolicy(Qt::StrongFocus);
    b->setToolTip(tip);
    row->addWidget(b);
    return b;
  };
  const auto shortcut = [this](const QKeySequence& keys, Qt::ShortcutContext context, const std::function<void()>& what) {
    auto* a = new QAction(this);
    a->setShortcut(keys);
    a->setShortcutContext(context);
    addAction(a);
    connect(a, &QAction::triggered, this, what);
  };
  previous_ = button("promptPrevious", QStringLiteral("◂"), tr("The prompt before (Alt+Left)"));
  previous_->setAccessibleName(tr("Previous prompt"));
  index_ = new QSpinBox(bar);
  index_->setObjectName(QStringLiteral("promptIndex"));
  index_->setButtonSymbols(QAbstractSpinBox::NoButtons);
  index_->setKeyboardTracking(false);
  index_->setAlignment(Qt::AlignCenter);
  index_->setAccessibleName(tr("Prompt number"));
  guardWheel(index_);
  row->addWidget(index_);
  next_ = button("promptNext", QStringLiteral("▸"), tr("The next prompt (Alt+Right)"));
  next_->setAccessibleName(tr("Next prompt"));
  sourceLine_ = new QuietLine(bar);
  sourceLine_->setObjectName(QStringLiteral("promptSource"));
  row->addSpacing(kGrid / 2);
  row->addWidget(sourceLine_, 1);
  use_ = new QPushButton(tr("Use"), bar);
  use_->setObjectName(QStringLiteral("promptUse"));
  use_->setProperty("primary", true);
  use_->setToolTip(tr("Work with what was typed (Enter)"));
  row->addWidget(use_);
  discard_ = button("promptDiscard", tr("Discard"), tr("Back to the prompts in use (Escape)"));
  use_->hide();
  discard_->hide();
  edit_ = button("promptEdit", tr("Edit"), tr("Fields for the texts and the answers (F2)"));
  edit_->setCheckable(true);
  loadButton_ = button("promptLoad", tr("Load"), tr("Prompts of a task, or of a file"));
  loadButton_->setCheckable(true);
  connect(previous_, &QToolButton::clicked, this, [this] { step(-1); });
  connect(next_, &QToolButton::clicked, this, [this] { step(1); });
  connect(index_, &QSpinBox::valueChanged, this, [this](int number) { session().selection().setPrompt(number - 1); });
  connect(use_, &QPushButton::clicked, this, [this] { editor_->use(); });
  connect(discard_, &QToolButton::clicked, this, [this] { editor_->discard(); });
  connect(edit_, &QToolButton::toggled, this, [this](bool on) { setEditing(on); });
  connect(loadButton_, &QToolButton::toggled, this, [this](bool on) {
    load_->setVisible(on);
    if (on) load_->tasks()->setFocus(Qt::OtherFocusReason);
  });
  shortcut(Qt::ALT | Qt::Key_Left, Qt::WindowShortcut, [this] { step(-1); });
  shortcut(Qt::ALT | Qt::Key_Right, Qt::WindowShortcut, [this] { step(1); });
  shortcut(Qt::Key_F2, Qt::WidgetWithChildrenShortcut, [this] {
    setEditing(true);
    editor_->cleanField()->setFocus(Qt::ShortcutFocusReason);
  });
  return bar;
}

void PromptsPanel::makeAfterButton() {
  afterButton_ = new QToolButton(nextView_);
  afterButton_->setObjectName(QStringLiteral("promptAfter"));
  afterButton_->setPopupMode(QToolButton::InstantPopup);
  afterButton_->setAutoRaise(true);
  afterButton_->setStyleSheet(QStringLiteral("QToolButton::menu-indicator { image: none; }"));   // the text has the arrow
  afterButton_->setFocusPolicy(Qt::StrongFocus);
  afterButton_->setToolTip(tr("After which prompt the table shows what comes next."));
  auto* menu = new QMenu(afterButton_);
  auto* group = new QActionGroup(menu);
  int number = 0;
  for (const QString& text : {tr("After clean"), tr("After corrupted"), tr("After both, side by side")}) {
    QAction* a = menu->addAction(text);
    a->setCheckable(true);
    group->addAction(a);
    connect(a, &QAction::triggered, this, [this, number] { setAfter(static_cast<AfterPrompt>(number)); });
    ++number;
  }
  afterButton_->setMenu(menu);
  nextView_->setCorner(afterButton_);
}

void PromptsPanel::setAfter(AfterPrompt after) {
  after_ = after;
  const QString words[] = {tr("clean"), tr("corrupted"), tr("both")};
  const auto i = static_cast<size_t>(after);
  afterButton_->setText(words[i] + QStringLiteral(" ▾"));
  afterButton_->setAccessibleName(tr("Next tokens after: %1").arg(words[i]));
  afterButton_->menu()->actions()[static_cast<int>(i)]->setChecked(true);
  nextView_->setCorner(afterButton_);
  nextSource_->ask(after_);
}

// ---- state to screen

void PromptsPanel::refresh() {
  const bool any = session().model(0) != nullptr;
  stack_->setCurrentIndex(any ? 1 : 0);
  if (!any) {
    if (session().opening(0)) empty_->setText(tr("Opening the model…"), tr("Prompts need its tokenizer."));
    else
      empty_->setText(tr("No model is open"),
                      tr("A model's tokenizer cuts prompts into tokens: open a model folder, or try the demo."),
                      tr("Try the demo"));
    setFocusProxy(nullptr);
    return;
  }
  showSource();
  if (pairStale_) showPair();
  nextSource_->ask(after_);
}

void PromptsPanel::showSource() {
  const PromptSet& set = session().prompts();
  const PromptSource& source = set.source;
  const int count =
      static_cast<int>(std::max(set.text.pairs.size(), set.bySlot[slot()] ? set.bySlot[slot()]->pairs.size() : size_t{0}));
  {
    const QSignalBlocker quiet(index_);
    index_->setRange(count > 0 ? 1 : 0, count);
    index_->setSuffix(tr(" of %1").arg(count));
    index_->setValue(std::min(session().selection().prompt() + 1, count));
  }
  const QFontMetrics m(index_->font());
  index_->setFixedWidth(m.horizontalAdvance(QStringLiteral("%1 of %1").arg(std::max(count, 10))) + 3 * kGrid);
  for (QWidget* w : {static_cast<QWidget*>(previous_), static_cast<QWidget*>(index_), static_cast<QWidget*>(next_)})
    w->setVisible(count > 1);
  previous_->setEnabled(session().selection().prompt() > 0);
  next_->setEnabled(session().selection().prompt() + 1 < count);
  QString text;
  if (source.kind == SourceKind::kTask) {
    const TaskInfo* task = find_task(source.task.toStdString());
    text = task ? labelText(task->title, 80) : plainLine(source.task, 80);
    if (source.templates != QLatin1String("known")) text += tr(", held-out templates");
  } else if (source.kind == SourceKind::kFile) {
    text = plainLine(QFileInfo(source.file).fileName(), 80);
  }
  sourceLine_->setText(text);
  load_->setSource(source);
  const app::ModelPtr first = session().model(0);
  load_->setTasksPossible(first && first->tokenizer(),
                          tr("A task makes prompts with a tokenizer, and this model folder has no tokenizer.json."));
  if (source.kind == kind_) return;
  // Typing is what one does with a prompt of one's own; a task is looked at.
  kind_ = source.kind;
  setEditing(kind_ == SourceKind::kNone || kind_ == SourceKind::kTyped);
}

void PromptsPanel::showPair() {
  pairStale_ = false;
  const int at = slot();
  const app::ModelPtr model = session().model(at);
  const PromptSet& set = session().prompts();
  PromptPair pair;
  const auto index = static_cast<size_t>(std::max(0, session().selection().prompt()));
  if (const PromptPair* tokenised = session().currentPair(at)) pair = *tokenised;
  else if (index < set.text.pairs.size()) pair = set.text.pairs[index];
  // Another model's ids are no tokens of this one.
  if (!session().currentPair(at) && !pair.clean.empty()) {
    pair.clean_ids.clear();
    pair.corrupted_ids.clear();
    pair.answer_ids.clear();
    pair.wrong_ids.clear();
  }
  QString note = set.problem[at];
  if (note.isEmpty() && session().comparing() && !set.problem[1 - at].isEmpty())
    note = tr("%1: %2").arg(labelText(session().model(1 - at)->facts().name, 60), set.problem[1 - at]);
  editor_->setModel(model);
  editor_->setPair(pair, note);
  const QString folder = model ? shellWord(QString::fromStdString(model->facts().folder)) : QString();
  const auto command = [&](const std::string& text) {
    return text.empty() || folder.isEmpty()
               ? QString()
               : QStringLiteral("microtome tokenize --model %1 %2").arg(folder, shellWord(QString::fromStdString(text)));
  };
  editor_->rows()->clean()->setCommand(command(pair.clean));
  editor_->rows()->corrupted()->setCommand(command(pair.corrupted));
}

void PromptsPanel::showNext() {
  std::vector<NextTokenColumn> columns = nextSource_->columns(after_);
  const size_t count = columns.size();
  nextView_->setColumns(std::move(columns));
  const app::ModelPtr model = session().model(0);
  const PromptPair* pair = session().currentPair(0);
  const std::string text = !pair ? std::string() : after_ == AfterPrompt::kCorrupted ? pair->corrupted : pair->clean;
  nextView_->setCommand(
      !model || text.empty()
          ? QString()
          : QStringLiteral("microtome forward --model %1 --prompt %2 --out logits.safetensors")
                .arg(shellWord(QString::fromStdString(model->facts().folder)), shellWord(QString::fromStdString(text))));
  if (count == columnCount_) return;
  columnCount_ = count;
  fittedTo_ = -1;
  divide();
}

void PromptsPanel::divide() {
  const int whole = splitter_->width();
  if (fittedTo_ == 0 || fittedTo_ == whole || !isVisible()) return;
  fittedTo_ = whole;
  const int columns = std::max(1, static_cast<int>(columnCount_));
  const int right = std::min(columns * 20 * kGrid + 2 * kGrid, std::max(whole * 11 / 20, columns * 15 * kGrid));
  splitter_->setSizes({whole - right, right});
}

void PromptsPanel::resizeEvent(QResizeEvent* event) {
  Panel::resizeEvent(event);
  divide();
}

void PromptsPanel::showEvent(QShowEvent* event) {
  Panel::showEvent(event);
  divide();
}

void PromptsPanel::setEditing(bool on) {
  editor_->setEditing(on);
  const QSignalBlocker quiet(edit_);
  edit_->setChecked(on);
  setFocusProxy(on ? static_cast<QWidget*>(editor_->cleanField()) : edit_);
}

void PromptsPanel::step(int by) {
  if (!index_->isVisibleTo(this)) return;
  index_->setValue(index_->value() + by);
}

void PromptsPanel::chooseFile() {
  auto* dialog = new QFileDialog(this, tr("Open prompts"));
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setFileMode(QFileDialog::ExistingFile);
  dialog->setNameFilters({tr("JSON lines (*.jsonl *.json *.ndjson)"), tr("All files (*)")});
  if (session().prompts().source.kind == SourceKind::kFile)
    dialog->setDirectory(QFileInfo(session().prompts().source.file).absolutePath());
  connect(dialog, &QFileDialog::fileSelected, this, [this](const QString& path) {
    loadButton_->setChecked(false);
    session().setFile(path);
  });
  dialog->open();
}

std::vector<View*> PromptsPanel::views() const {
  std::vector<View*> out;
  for (View* v : {static_cast<View*>(editor_->rows()->clean()), static_cast<View*>(editor_->rows()->corrupted()),
                  static_cast<View*>(nextView_)})
    if (v->isVisible()) out.push_back(v);
  return out;
}

QByteArray PromptsPanel::saveState() const {
  QByteArray out;
  QDataStream stream(&out, QIODevice::WriteOnly);
  stream << qint32(1) << qint32(after_) << (fittedTo_ == 0 ? splitter_->saveState() : QByteArray());
  return out;
}

void PromptsPanel::restoreState(const QByteArray& state) {
  QDataStream stream(state);
  qint32 version = 0, after = 0;
  QByteArray sizes;                    // empty: nobody moved the border
  stream >> version >> after >> sizes;
  if (stream.status() != QDataStream::Ok || version != 1) return;
  if (after >= 0 && after <= static_cast<qint32>(AfterPrompt::kBoth)) setAfter(static_cast<AfterPrompt>(after));
  if (!sizes.isEmpty() && splitter_->restoreState(sizes)) fittedTo_ = 0;
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_prompts(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("prompts"),
                       QObject::tr("Prompts"),
                       QObject::tr("Clean and corrupted prompts with their tokens, tasks, and what the models say next."),
                       PanelArea::kTop,
                       0,
                       QStringLiteral("Ctrl+P")};
  registry.add({info, [info](Session& s, QWidget* parent) -> Panel* { return new PromptsPanel(s, info, parent); }});
}

}  // namespace microtome::panels

// Start: what one sees first. Three things to do, what was open lately, and what the work runs on.
#include "app/desktop/panels/panel.h"

#include <QAction>
#include <QClipboard>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QGuiApplication>
#include <QKeyEvent>
#include <QMenu>
#include <QPainterPath>
#include <QScrollArea>

#include "app/desktop/panels/registry.h"
#include "app/desktop/panels/start/recent_row.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr int kWidest = 92 * kGrid, kRows = 5;

// Three slices of one block, one in the colour of each kind of layer and one in the accent.
class SliceMark : public QWidget {
 public:
  explicit SliceMark(QWidget* parent) : QWidget(parent) { setFixedSize(6 * kGrid, 6 * kGrid); }

 protected:
  void paintEvent(QPaintEvent*) override {
    const Theme& t = Theme::of(this);
    QPainter p(this);
    p.setRenderHint(QPainter::Antialiasing);
    const QColor colours[] = {t.recurrent, t.accent, t.softmax};
    const double wide = 5.5 * kGrid, high = 2.5 * kGrid, left = kGrid / 4.0;
    for (int i = 0; i < 3; ++i) {
      // From the lowest up; each lies a little apart, as cut.
      const double top = height() - high - kGrid / 4.0 - i * 1.5 * kGrid, middle = top + high / 2;
      QPainterPath slice;
      slice.moveTo(left, middle);
      slice.lineTo(left + wide / 2, top);
      slice.lineTo(left + wide, middle);
      slice.lineTo(left + wide / 2, top + high);
      slice.closeSubpath();
      p.setPen(QPen(palette().color(QPalette::Window), 2, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
      p.setBrush(colours[i]);
      p.drawPath(slice);
    }
  }
};

QLabel* makeLabel(const QString& text, const char* role, QWidget* parent) {
  auto* label = new QLabel(text, parent);
  label->setTextFormat(Qt::PlainText);
  if (*role) label->setProperty("role", QString::fromLatin1(role));
  label->setWordWrap(true);
  return label;
}

class StartPanel : public Panel {
 public:
  StartPanel(Session& session, const PanelInfo& info, QWidget* parent);

 protected:
  void refresh() override;

 private:
  struct List {
    QVBoxLayout* rows = nullptr;
    QLabel* none = nullptr;
    QStringList shown;
    bool built = false;
  };
  QWidget* makeHead(QWidget* parent);
  QWidget* makeActions(QWidget* parent);
  QWidget* makeList(const QString& title, const QString& none, List* list, QWidget* parent);
  void fill(List& list, const QStringList& paths, bool models);
  void showStates();
  void showDevice();
  void chooseModel(int slot);
  void chooseProject();
  void modelMenu(RecentRow* row, const QPoint& at);
  RecentRow* rowAt(const List& list, int i) const { return qobject_cast<RecentRow*>(list.rows->itemAt(i)->widget()); }

  List models_, projects_;
  QLabel *device_, *version_;
};

StartPanel::StartPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  auto* scroll = new QScrollArea(this);
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll->setFocusPolicy(Qt::NoFocus);
  auto* whole = new QWidget(scroll);
  auto* across = new QHBoxLayout(whole);
  across->setContentsMargins(2 * kGrid, 2 * kGrid, 2 * kGrid, 2 * kGrid);
  auto* page = new QWidget(whole);
  page->setMaximumWidth(kWidest);
  across->addStretch(1);
  across->addWidget(page, 1000);
  across->addStretch(1);
  auto* column = new QVBoxLayout(page);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(0);
  column->addStretch(1);
  column->addWidget(makeHead(page));
  column->addSpacing(3 * kGrid);
  column->addWidget(makeActions(page));
  column->addSpacing(3 * kGrid);
  auto* lists = new QHBoxLayout;
  lists->setSpacing(kGrid);
  lists->addWidget(makeList(tr("Recent models"), tr("The models you open appear here."), &models_, page), 1);
  lists->addWidget(makeList(tr("Recent projects"), tr("The projects you open or save appear here."), &projects_, page), 1);
  column->addLayout(lists);
  column->addStretch(3);
  column->addSpacing(2 * kGrid);
  auto* foot = new QHBoxLayout;
  foot->setSpacing(2 * kGrid);
  foot->setContentsMargins(kGrid, 0, kGrid, 0);
  device_ = makeLabel({}, "muted", page);
  device_->setObjectName(QStringLiteral("startDevice"));
  version_ = makeLabel({}, "muted", page);
  version_->setObjectName(QStringLiteral("startVersion"));
  version_->setWordWrap(false);
  foot->addWidget(device_, 1);
  foot->addWidget(version_, 0, Qt::AlignRight | Qt::AlignBottom);
  column->addLayout(foot);
  scroll->setWidget(whole);
  body()->setContentsMargins(0, 0, 0, 0);
  body()->addWidget(scroll);

  for (auto signal : {&Session::modelChanged, &Session::openingChanged})
    connect(&session, signal, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::projectChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::deviceChanged, this, [this] { scheduleRefresh(); });
  refresh();
}

QWidget* StartPanel::makeHead(QWidget* parent) {
  auto* head = new QWidget(parent);
  auto* row = new QHBoxLayout(head);
  row->setContentsMargins(kGrid, 0, kGrid, 0);
  row->setSpacing(2 * kGrid);
  row->addWidget(new SliceMark(head), 0, Qt::AlignTop);
  auto* words = new QVBoxLayout;
  words->setSpacing(kGrid / 2);
  auto* name = makeLabel(QStringLiteral("Microtome"), "headline", head);
  words->addWidget(name);
  words->addWidget(makeLabel(
      tr("Look inside language models with softmax or linear attention, and see what does the work."), "muted", head));
  row->addLayout(words, 1);
  return head;
}

QWidget* StartPanel::makeActions(QWidget* parent) {
  auto* box = new QWidget(parent);
  auto* column = new QVBoxLayout(box);
  column->setContentsMargins(kGrid, 0, kGrid, 0);
  column->setSpacing(kGrid);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  const auto add = [&](const char* id, const QString& text, const QString& tip) {
    auto* b = new QPushButton(text, box);
    b->setObjectName(QString::fromLatin1(id));
    b->setToolTip(tip);
    b->setMinimumHeight(4 * kGrid);
    b->setAutoDefault(true);           // Enter presses it
    row->addWidget(b);
    return b;
  };
  QPushButton* demo = add("startDemo", tr("Try the demo"),
                          tr("Opens the two models that ship with Microtome, one with softmax and one with linear "
                             "attention, and prompts for them."));
  demo->setProperty("primary", true);
  QPushButton* model = add("startModel", tr("Open a model folder…"),
                           tr("A folder with config.json, the weights as safetensors, and tokenizer.json."));
  QPushButton* project = add("startProject", tr("Open a project…"), tr("A .microtome file: runs, circuits and notes."));
  row->addStretch(1);
  column->addLayout(row);
  column->addWidget(makeLabel(tr("Or drop a model folder or a .microtome file anywhere in the window."), "muted", box));
  connect(demo, &QPushButton::clicked, &session(), [this] { session().openDemo(); });
  connect(model, &QPushButton::clicked, this, [this] { chooseModel(0); });
  connect(project, &QPushButton::clicked, this, [this] { chooseProject(); });
  return box;
}

QWidget* StartPanel::makeList(const QString& title, const QString& none, List* list, QWidget* parent) {
  auto* box = new QWidget(parent);
  box->setAccessibleName(title);
  auto* column = new QVBoxLayout(box);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  // A row's frame stands outside its words: all words of the page begin at one edge.
  QLabel* heading = makeLabel(title, "section", box);
  heading->setContentsMargins(kGrid, 0, kGrid, 0);
  column->addWidget(heading);
  list->rows = new QVBoxLayout;
  list->rows->setContentsMargins(0, 0, 0, 0);
  list->rows->setSpacing(0);
  column->addLayout(list->rows);
  list->none = makeLabel(none, "muted", box);
  list->none->setContentsMargins(kGrid, 0, kGrid, 0);
  column->addWidget(list->none);
  column->addStretch(1);
  return box;
}

void StartPanel::fill(List& list, const QStringList& paths, bool models) {
  const QStringList wanted = paths.mid(0, kRows);
  list.none->setVisible(wanted.isEmpty());
  if (list.built && wanted == list.shown) return;
  // The row that was pressed may be the one that asked for this.
  bool hadFocus = false;
  while (QLayoutItem* item = list.rows->takeAt(0)) {
    hadFocus = hadFocus || item->widget()->hasFocus();
    item->widget()->hide();
    item->widget()->deleteLater();
    delete item;
  }
  list.shown = wanted;
  list.built = true;
  for (const QString& path : wanted) {
    const QFileInfo file(path);
    auto* row = new RecentRow(models ? file.fileName() : file.completeBaseName(), path, this);
    list.rows->addWidget(row);
    if (!models) {
      connect(row, &RecentRow::clicked, &session(), [this, path] { session().openProject(path); });
      continue;
    }
    connect(row, &RecentRow::clicked, &session(), [this, path] {
      const bool beside = QGuiApplication::keyboardModifiers().testFlag(Qt::ControlModifier) && session().model(0);
      session().openModel(path, beside ? 1 : 0);
    });
    row->setContextMenuPolicy(Qt::CustomContextMenu);
    connect(row, &RecentRow::customContextMenuRequested, this,
            [this, row](const QPoint& at) { modelMenu(row, row->mapToGlobal(at)); });
  }
  if (hadFocus && list.rows->count() > 0) list.rows->itemAt(0)->widget()->setFocus();
}

void StartPanel::modelMenu(RecentRow* row, const QPoint& at) {
  const QString path = row->path();
  auto* menu = new QMenu(this);
  menu->setAttribute(Qt::WA_DeleteOnClose);
  menu->addAction(tr("Open"), this, [this, path] { session().openModel(path, 0); });
  QAction* beside =
      menu->addAction(tr("Open beside the first model"), this, [this, path] { session().openModel(path, 1); });
  beside->setEnabled(session().model(0) != nullptr);
  menu->addAction(tr("Copy path"), this, [path] { QGuiApplication::clipboard()->setText(QDir::toNativeSeparators(path)); });
  menu->popup(at);
}

void StartPanel::refresh() {
  fill(models_, session().recentModels(), true);
  fill(projects_, session().recentProjects(), false);
  showStates();
  showDevice();
}

void StartPanel::showStates() {
  for (int i = 0; i < models_.rows->count(); ++i) {
    RecentRow* row = rowAt(models_, i);
    if (!row) continue;
    QString state;
    RowMark mark = RowMark::kNone;
    for (int slot = 0; slot < Session::kSlots; ++slot) {
      const app::ModelPtr m = session().model(slot);
      if (!m || QString::fromStdString(m->facts().folder) != row->path()) continue;
      state = tr("open");
      bool softmax = false, recurrent = false;
      for (const app::LayerFacts& l : m->facts().layers) (l.recurrent ? recurrent : softmax) = true;
      mark = softmax && recurrent ? RowMark::kBoth : recurrent ? RowMark::kRecurrent : RowMark::kSoftmax;
    }
    row->setState(state, mark);
  }
  for (int i = 0; i < projects_.rows->count(); ++i)
    if (RecentRow* row = rowAt(projects_, i))
      row->setState(!session().projectIsUntitled() && row->path() == session().projectPath() ? tr("open") : QString());
}

void StartPanel::showDevice() {
  const app::DeviceFacts& d = session().devices();
  version_->setText(
      d.libtorch.empty()
          ? tr("Microtome %1").arg(QStringLiteral(MICROTOME_VERSION))
          : tr("Microtome %1 · LibTorch %2").arg(QStringLiteral(MICROTOME_VERSION), labelText(d.libtorch, 40)));
  if (!session().engineReady()) {
    device_->setText(tr("Opening the core…"));
    return;
  }
  QString device = session().device();
  if (device == QLatin1String("cpu")) device = tr("the CPU");
  QString text = tr("Runs on %1").arg(plainLine(device, 60));
  const auto gpus = static_cast<int>(d.names.size()) - 1;
  if (!d.why_no_gpu.empty()) text += tr(": %1").arg(labelText(d.why_no_gpu, 300));
  else if (gpus > 0) text += tr(" · %n GPU(s) in this machine", nullptr, gpus);
  if (session().opening(0) || session().opening(1)) text = tr("Opening the model… ") + text;
  if (!text.endsWith(QLatin1Char('.'))) text += QLatin1Char('.');
  device_->setText(text);
}

void StartPanel::chooseModel(int slot) {
  auto* dialog = new QFileDialog(this, tr("Open a model folder"));
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setFileMode(QFileDialog::Directory);
  dialog->setOption(QFileDialog::ShowDirsOnly);
  const QStringList recent = session().recentModels();
  if (!recent.isEmpty()) dialog->setDirectory(QFileInfo(recent.front()).absolutePath());
  connect(dialog, &QFileDialog::fileSelected, &session(),
          [this, slot](const QString& folder) { session().openModel(folder, slot); });
  dialog->open();
}

void StartPanel::chooseProject() {
  auto* dialog = new QFileDialog(this, tr("Open a project"));
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setFileMode(QFileDialog::ExistingFile);
  dialog->setNameFilters({tr("Microtome projects (*.microtome)"), tr("All files (*)")});
  const QStringList recent = session().recentProjects();
  if (!recent.isEmpty()) dialog->setDirectory(QFileInfo(recent.front()).absolutePath());
  connect(dialog, &QFileDialog::fileSelected, &session(), [this](const QString& path) { session().openProject(path); });
  dialog->open();
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_start(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("start"),
                       QObject::tr("Start"),
                       QObject::tr("Open a model folder or a project, or try the demo."),
                       PanelArea::kCentre,
                       0,
                       {}};
  registry.add({info, [info](Session& s, QWidget* parent) -> Panel* { return new StartPanel(s, info, parent); }});
}

}  // namespace microtome::panels

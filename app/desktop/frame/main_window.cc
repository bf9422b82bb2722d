#include "app/desktop/frame/main_window.h"

#include <QApplication>
#include <QCloseEvent>
#include <QDir>
#include <QDockWidget>
#include <QDragEnterEvent>
#include <QFileInfo>
#include <QGuiApplication>
#include <QMimeData>
#include <QScreen>
#include <QScrollArea>
#include <QSettings>
#include <QStatusBar>
#include <QTabBar>
#include <QTabWidget>
#include <QTimer>

#include "app/desktop/frame/command_palette.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/view.h"

namespace microtome::desktop {
namespace {

Qt::DockWidgetArea areaOf(PanelArea area) {
  switch (area) {
    case PanelArea::kLeft: return Qt::LeftDockWidgetArea;
    case PanelArea::kTop: return Qt::TopDockWidgetArea;
    case PanelArea::kRight: return Qt::RightDockWidgetArea;
    default: return Qt::BottomDockWidgetArea;
  }
}

// A long text in the status line must not widen the window.
class ElidedLabel : public QLabel {
 public:
  using QLabel::QLabel;
  QSize minimumSizeHint() const override { return QSize(kGrid * 8, QLabel::minimumSizeHint().height()); }
  QSize sizeHint() const override { return minimumSizeHint(); }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter p(this);
    p.setPen(Theme::of(this).muted);
    p.drawText(rect(), Qt::AlignVCenter | Qt::AlignLeft, fontMetrics().elidedText(text(), Qt::ElideRight, width()));
  }
};

}  // namespace

MainWindow::MainWindow(Session& session, const std::vector<PanelKind>& panels) : session_(session), jobTimer_(new QTimer(this)) {
  setObjectName(QStringLiteral("main_window"));
  setAcceptDrops(true);
  setDockNestingEnabled(true);
  setDockOptions(dockOptions() | QMainWindow::AllowTabbedDocks | QMainWindow::GroupedDragging);
  // The middle column is for the pictures: side docks reach from the prompts to the jobs.
  setCorner(Qt::TopLeftCorner, Qt::LeftDockWidgetArea);
  setCorner(Qt::BottomLeftCorner, Qt::LeftDockWidgetArea);
  setCorner(Qt::TopRightCorner, Qt::RightDockWidgetArea);
  setCorner(Qt::BottomRightCorner, Qt::RightDockWidgetArea);
  tabs_ = new QTabWidget(this);
  tabs_->setObjectName(QStringLiteral("centre"));
  tabs_->setDocumentMode(true);
  tabs_->setMovable(true);
  tabs_->setUsesScrollButtons(true);
  tabs_->tabBar()->setExpanding(false);
  setCentralWidget(tabs_);

  hover_ = new ElidedLabel(this);
  hover_->setObjectName(QStringLiteral("hover"));
  jobState_ = new QLabel(this);
  projectState_ = new QLabel(this);
  statusBar()->addWidget(hover_, 1);
  statusBar()->addPermanentWidget(jobState_);
  statusBar()->addPermanentWidget(projectState_);
  statusBar()->setSizeGripEnabled(false);
  for (QLabel* label : {jobState_, projectState_}) label->setContentsMargins(kGrid, 0, kGrid, 0);
  hover_->setContentsMargins(kGrid, 0, 0, 0);

  makePanels(panels);
  makeMenus();
  makeToolBar();
  connectSession();
  const QScreen* on = QGuiApplication::primaryScreen();
  resize(on ? QSize(1440, 900).boundedTo(on->availableSize()) : QSize(1440, 900));
  applyDefaultLayout();
  defaultState_ = saveState();
  restoreLayout();
  updateTitle();
  updateStatus();
}

MainWindow::~MainWindow() = default;

void MainWindow::makePanels(const std::vector<PanelKind>& kinds) {
  for (const PanelKind& kind : kinds) {
    Panel* p = kind.create(session_, this);
    panels_.insert(kind.info.id, p);
    infos_.push_back(kind.info);
    connect(p, &Panel::hoverText, hover_, &QLabel::setText);
    connect(p, &Panel::noteWanted, this, &MainWindow::editNote);
    if (kind.info.area == PanelArea::kCentre) {
      const int i = tabs_->addTab(p, kind.info.title);
      tabs_->setTabToolTip(i, kind.info.help + (kind.info.shortcut.isEmpty() ? QString() : QStringLiteral(" (%1)").arg(kind.info.shortcut)));
      continue;
    }
    auto* dock = new QDockWidget(kind.info.title, this);
    dock->setObjectName(QStringLiteral("dock_") + kind.info.id);
    dock->setWidget(p);
    dock->setToolTip(kind.info.help);
    addDockWidget(areaOf(kind.info.area), dock);
    docks_.insert(kind.info.id, dock);
  }
}

void MainWindow::applyDefaultLayout() {
  // Sizes for 1280 × 800 and up; docks of one side stand below one another.
  for (const PanelInfo& info : infos_)
    if (QDockWidget* dock = docks_.value(info.id)) dock->show();
  QList<QDockWidget*> left, right;
  for (const PanelInfo& info : infos_) {
    if (info.area == PanelArea::kLeft) left << docks_[info.id];
    if (info.area == PanelArea::kRight) right << docks_[info.id];
  }
  if (!left.isEmpty()) {
    resizeDocks(left, QList<int>(left.size(), 272), Qt::Horizontal);
    resizeDocks(left, QList<int>(left.size(), 400), Qt::Vertical);
  }
  if (!right.isEmpty()) resizeDocks(right, QList<int>(right.size(), 272), Qt::Horizontal);
  for (const PanelInfo& info : infos_) {
    if (info.area == PanelArea::kTop) resizeDocks({docks_[info.id]}, {192}, Qt::Vertical);
    if (info.area == PanelArea::kBottom) resizeDocks({docks_[info.id]}, {104}, Qt::Vertical);
  }
}

void MainWindow::showPanel(const QString& id) {
  Panel* p = panel(id);
  if (!p) return;
  if (QDockWidget* dock = docks_.value(id)) {
    dock->show();
    dock->raise();
  } else {
    tabs_->setCurrentWidget(p);
  }
  if (!p->isAncestorOf(QApplication::focusWidget())) p->setFocus(Qt::OtherFocusReason);
}

Panel* MainWindow::currentCentre() const { return qobject_cast<Panel*>(tabs_->currentWidget()); }

void MainWindow::connectSession() {
  session_.setViewSource([this] {
    std::vector<View*> out;
    for (const PanelInfo& info : infos_)
      for (View* v : panels_[info.id]->views())
        // Only what stands on a stored run can be repeated by who reads the report.
        if (v && v->sourceRun() != 0) out.push_back(v);
    return out;
  });
  connect(&session_, &Session::panelWanted, this, &MainWindow::showPanel);
  connect(&session_, &Session::notice, this, [this](const QString& sentence) {
    if (Panel* p = currentCentre()) p->showNotice(sentence);
  });
  connect(&session_, &Session::problem, this, [this](const QString& where, const QString& sentence) {
    Panel* p = where == QLatin1String("prompts") || where == QLatin1String("project") ? panel(where) : nullptr;
    if (!p || !p->isVisible()) p = currentCentre();
    if (p) p->showProblem(sentence);
  });
  connect(&session_, &Session::modelChanged, this, [this](int slot) {
    // Who opened a model wants to see it, not the page that opened it.
    Panel* current = currentCentre();
    if (slot == 0 && session_.model(0) && current && current->info().id == QLatin1String("start")) showPanel(QStringLiteral("attention"));
    // What was said about the model before it is over; a folder that could not be opened leaves its sentence.
    if (session_.model(slot) && session_.model(slot).get() != known_[slot] && current) current->clearBar();
    known_[slot] = session_.model(slot).get();
    updateTitle();
  });
  connect(&session_, &Session::projectChanged, this, &MainWindow::updateTitle);
  connect(&session_, &Session::runsChanged, this, &MainWindow::updateStatus);
  connect(&session_, &Session::jobsChanged, this, [this] {
    updateStatus();
    if (!jobTimer_->isActive()) jobTimer_->start(250);
  });
  connect(jobTimer_, &QTimer::timeout, this, &MainWindow::updateStatus);
}

void MainWindow::updateTitle() {
  QStringList parts;
  for (int slot = 0; slot < Session::kSlots; ++slot)
    if (const app::ModelPtr m = session_.model(slot)) parts << QString::fromStdString(m->facts().name);
  QString title = parts.join(tr(" and "));
  if (!session_.projectPath().isEmpty()) title += (title.isEmpty() ? QString() : QStringLiteral(" — ")) + session_.projectName();
  setWindowTitle(title.isEmpty() ? QStringLiteral("Microtome") : title + QStringLiteral(" — Microtome"));
  updateStatus();
}

void MainWindow::updateStatus() {
  int running = 0, waiting = 0;
  double fraction = 0;
  QString what;
  for (const JobSnapshot& j : session_.jobs()) {
    if (j.lane == "store") continue;
    if (j.state == JobState::kQueued) ++waiting;
    if (j.state != JobState::kRunning) continue;
    ++running;
    fraction = j.progress.fraction;
    what = QString::fromStdString(j.title);
  }
  if (running + waiting == 0) {
    jobTimer_->stop();
    jobState_->clear();
  } else if (running == 1 && waiting == 0) {
    jobState_->setText(tr("%1 · %2 %").arg(what).arg(static_cast<int>(100 * fraction)));
  } else {
    jobState_->setText(tr("%1 running, %2 waiting").arg(running).arg(waiting));
  }
  const auto runs = session_.runs().size();
  projectState_->setText(session_.projectPath().isEmpty() ? QString()
                         : tr("%1 · %2").arg(session_.projectName(), runs == 1 ? tr("1 run") : tr("%1 runs").arg(runs)));
  projectState_->setToolTip(QDir::toNativeSeparators(session_.projectPath()));
}

void MainWindow::setDark(bool dark) {
  QSettings().setValue(QStringLiteral("window/dark"), dark);
  if (darkAction_ && darkAction_->isChecked() != dark) darkAction_->setChecked(dark);
  if (auto* app = qobject_cast<QApplication*>(QApplication::instance())) Theme::apply(*app, dark);
}

// ---- what is kept between starts

void MainWindow::saveLayout() {
  QSettings settings;
  settings.setValue(QStringLiteral("window/geometry"), saveGeometry());
  settings.setValue(QStringLiteral("window/state"), saveState());
  if (Panel* p = currentCentre()) settings.setValue(QStringLiteral("window/tab"), p->info().id);
  QStringList order;
  for (int i = 0; i < tabs_->count(); ++i)
    if (auto* p = qobject_cast<Panel*>(tabs_->widget(i))) order << p->info().id;
  settings.setValue(QStringLiteral("window/order"), order);
  for (const PanelInfo& info : infos_) {
    const QByteArray state = panels_[info.id]->saveState();
    if (!state.isEmpty()) settings.setValue(QStringLiteral("window/panel/") + info.id, state);
  }
}

void MainWindow::restoreLayout() {
  QSettings settings;
  const QByteArray geometry = settings.value(QStringLiteral("window/geometry")).toByteArray();
  if (!geometry.isEmpty()) restoreGeometry(geometry);
  const QByteArray state = settings.value(QStringLiteral("window/state")).toByteArray();
  if (!state.isEmpty()) restoreState(state);
  int place = 0;
  for (const QString& id : settings.value(QStringLiteral("window/order")).toStringList())
    if (Panel* p = panel(id)) {
      const int from = tabs_->indexOf(p);
      if (from >= 0) tabs_->tabBar()->moveTab(from, std::min(place++, tabs_->count() - 1));
    }
  for (const PanelInfo& info : infos_) {
    const QByteArray own = settings.value(QStringLiteral("window/panel/") + info.id).toByteArray();
    if (!own.isEmpty()) panels_[info.id]->restoreState(own);
  }
  // Without a model every other tab is empty: begin where one is opened.
  if (Panel* start = panel(QStringLiteral("start"))) tabs_->setCurrentWidget(start);
}

void MainWindow::closeEvent(QCloseEvent* event) {
  saveLayout();
  // Runs that are under way stop at their next step once the session goes; what they committed stays and they go on when
  // they are asked for again. The window does not make anybody wait for that.
  hide();
  event->accept();
}

// ---- drops

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (!event->mimeData()->hasUrls()) return;
  for (const QUrl& url : event->mimeData()->urls())
    if (url.isLocalFile()) {
      event->acceptProposedAction();
      return;
    }
}

void MainWindow::dropEvent(QDropEvent* event) {
  int slot = 0;
  for (const QUrl& url : event->mimeData()->urls()) {
    if (!url.isLocalFile()) continue;
    const QString path = url.toLocalFile();
    openDropped(path, slot);
    if (QFileInfo(path).isDir()) slot = std::min(slot + 1, Session::kSlots - 1);
  }
  event->acceptProposedAction();
}

void MainWindow::openDropped(const QString& path, int slot) {
  const QFileInfo info(path);
  if (info.suffix() == QLatin1String("microtome")) session_.openProject(path);
  else if (info.suffix() == QLatin1String("jsonl")) session_.setFile(path);
  else session_.openModel(path, slot);
}

}  // namespace microtome::desktop

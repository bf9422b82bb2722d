// The window's menus, tool bar and small dialogs.
#include <QActionGroup>
#include <QApplication>
#include <QComboBox>
#include <QDir>
#include <QDockWidget>
#include <QFileDialog>
#include <QFileInfo>
#include <QGridLayout>
#include <QHeaderView>
#include <QInputDialog>
#include <QKeyEvent>
#include <QMenu>
#include <QMenuBar>
#include <QPlainTextEdit>
#include <QSettings>
#include <QTableWidget>
#include <QToolBar>
#include <QToolButton>

#include "app/desktop/frame/command_palette.h"
#include "app/desktop/frame/main_window.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

QString qs(const std::string& s) { return QString::fromStdString(s); }

// The last part of a path and the folder it lies in: enough to tell two of one name apart.
QString shortPath(const QString& path) {
  const QFileInfo info(path);
  return info.fileName() + QStringLiteral("  —  ") + QDir::toNativeSeparators(info.absolutePath());
}

}  // namespace

void MainWindow::fillRecent(QMenu* menu, const QStringList& paths, const std::function<void(const QString&)>& open) {
  menu->clear();
  for (const QString& path : paths) menu->addAction(shortPath(path), this, [open, path] { open(path); });
  if (paths.isEmpty()) menu->addAction(tr("Nothing yet"))->setEnabled(false);
}

void MainWindow::makeMenus() {
  QMenu* file = menuBar()->addMenu(tr("&File"));
  file->addAction(tr("Open &model folder…"), QKeySequence(QStringLiteral("Ctrl+O")), this, [this] { openModelDialog(0); });
  file->addAction(tr("Open a second model to &compare…"), QKeySequence(QStringLiteral("Ctrl+Shift+O")), this, [this] { openModelDialog(1); });
  closeCompared_ = file->addAction(tr("Close the second model"), this, [this] { session_.closeModel(1); });
  QMenu* recentModels = file->addMenu(tr("Recent models"));
  connect(recentModels, &QMenu::aboutToShow, this, [this, recentModels] {
    fillRecent(recentModels, session_.recentModels(), [this](const QString& p) { session_.openModel(p, 0); });
  });
  file->addSeparator();
  file->addAction(tr("Open &project…"), QKeySequence(QStringLiteral("Ctrl+Shift+P")), this, &MainWindow::openProjectDialog);
  QMenu* recentProjects = file->addMenu(tr("Recent projects"));
  connect(recentProjects, &QMenu::aboutToShow, this, [this, recentProjects] {
    fillRecent(recentProjects, session_.recentProjects(), [this](const QString& p) { session_.openProject(p); });
  });
  file->addAction(tr("&Save project as…"), QKeySequence(QStringLiteral("Ctrl+Shift+S")), this, &MainWindow::saveProjectDialog);
  file->addSeparator();
  file->addAction(tr("Open pr&ompts (JSON lines)…"), this, &MainWindow::openPromptsDialog);
  file->addAction(tr("Try the &demo"), this, [this] { session_.openDemo(); });
  file->addSeparator();
  file->addAction(tr("&Quit"), QKeySequence(QStringLiteral("Ctrl+Q")), this, &QWidget::close);

  QMenu* edit = menuBar()->addMenu(tr("&Edit"));
  QAction* undo = session_.undoStack().createUndoAction(this, tr("Undo"));
  undo->setShortcut(QKeySequence::Undo);
  QAction* redo = session_.undoStack().createRedoAction(this, tr("Redo"));
  redo->setShortcuts({QKeySequence(QStringLiteral("Ctrl+Shift+Z")), QKeySequence(QStringLiteral("Ctrl+Y"))});
  edit->addAction(undo);
  edit->addAction(redo);
  edit->addSeparator();
  edit->addAction(tr("&Find anything…"), QKeySequence(QStringLiteral("Ctrl+K")), this, [this] { palette_->open(); });

  QMenu* view = menuBar()->addMenu(tr("&View"));
  panelMenu_ = view->addMenu(tr("&Panels"));
  for (const PanelInfo& info : infos_) {
    QAction* a = panelMenu_->addAction(info.title, this, [this, id = info.id] { showPanel(id); });
    if (!info.shortcut.isEmpty()) a->setShortcut(QKeySequence(info.shortcut));
    a->setStatusTip(info.help);
  }
  QMenu* docks = view->addMenu(tr("Show and &hide"));
  for (const PanelInfo& info : infos_)
    if (QDockWidget* dock = docks_.value(info.id)) docks->addAction(dock->toggleViewAction());
  layoutMenu_ = view->addMenu(tr("&Layouts"));
  connect(layoutMenu_, &QMenu::aboutToShow, this, &MainWindow::fillLayouts);
  view->addSeparator();
  darkAction_ = view->addAction(tr("&Dark theme"), QKeySequence(QStringLiteral("Ctrl+Shift+D")), this, [this](bool on) { setDark(on); });
  darkAction_->setCheckable(true);
  darkAction_->setChecked(Theme::of(this).dark);
  QAction* full = view->addAction(tr("&Full screen"), QKeySequence(QStringLiteral("F11")), this, [this](bool on) { on ? showFullScreen() : showNormal(); });
  full->setCheckable(true);

  runMenu_ = menuBar()->addMenu(tr("&Run"));
  connect(runMenu_, &QMenu::aboutToShow, this, [this] {
    runMenu_->clear();
    for (const app::AnalysisFacts& a : session_.analyses()) {
      QAction* action = runMenu_->addAction(qs(a.info.title), this, [this, name = qs(a.info.name)] {
        showPanel(QStringLiteral("analysis"));
        Q_EMIT session_.analysisWanted(name);
      });
      action->setStatusTip(qs(a.info.definition));
      if (!a.plugin.empty()) action->setText(action->text() + tr("  (plug-in)"));
    }
    if (session_.analyses().empty()) runMenu_->addAction(tr("The core is being opened…"))->setEnabled(false);
  });

  QMenu* help = menuBar()->addMenu(tr("&Help"));
  help->addAction(tr("&Keys"), QKeySequence(QStringLiteral("F1")), this, &MainWindow::showKeys);
  help->addAction(tr("&About Microtome"), this, &MainWindow::showAbout);

  palette_ = new CommandPalette(this, [this] {
    std::vector<PaletteEntry> out;
    for (const PanelInfo& info : infos_) out.push_back({tr("panel"), info.title, info.help, [this, id = info.id] { showPanel(id); }});
    for (const app::AnalysisFacts& a : session_.analyses())
      out.push_back({tr("analysis"), qs(a.info.title), qs(a.info.name), [this, name = qs(a.info.name)] {
        showPanel(QStringLiteral("analysis"));
        Q_EMIT session_.analysisWanted(name);
      }});
    for (const TaskInfo& t : task_list())
      out.push_back({tr("task"), qs(t.title), qs(t.name), [this, name = qs(t.name)] {
        PromptSource source;
        source.kind = PromptSource::Kind::kTask;
        source.task = name;
        session_.setTask(source);
      }});
    for (const RunRecord& r : session_.runs())
      out.push_back({tr("run"), tr("%1 · %2 · %3").arg(r.id).arg(qs(r.title), qs(r.model_name)), qs(r.dataset_name), [this, id = r.id] {
        session_.selection().setRun(id);
        showPanel(QStringLiteral("results"));
      }});
    for (QAction* a : allActions()) {
      QString text = a->text();
      out.push_back({tr("action"), text.remove(QLatin1Char('&')), a->shortcut().toString(QKeySequence::NativeText), [a] { a->trigger(); }});
    }
    if (const app::ModelPtr m = session_.model(session_.selection().model()))
      for (const app::HookFacts& h : m->facts().hooks)
        out.push_back({tr("hook point"), qs(h.name), {}, [this, name = qs(h.name)] {
          session_.selection().setHookPoint(name);
          showPanel(QStringLiteral("model"));
        }});
    return out;
  });
}

QList<QAction*> MainWindow::allActions() const {
  QList<QAction*> out;
  for (QAction* top : menuBar()->actions()) {
    QMenu* menu = top->menu();
    if (!menu || menu == runMenu_) continue;
    for (QAction* a : menu->actions())
      if (!a->isSeparator() && !a->menu() && a->isEnabled()) out << a;
  }
  return out;
}

void MainWindow::makeToolBar() {
  QToolBar* bar = addToolBar(tr("Tools"));
  bar->setObjectName(QStringLiteral("tools"));
  bar->setMovable(false);
  bar->setContextMenuPolicy(Qt::PreventContextMenu);
  auto button = [&](const QString& text, const QString& tip, auto&& act) {
    auto* b = new QToolButton(this);
    b->setText(text);
    b->setToolTip(tip);
    b->setFocusPolicy(Qt::TabFocus);
    connect(b, &QToolButton::clicked, this, act);
    bar->addWidget(b);
    return b;
  };
  button(tr("Open model…"), tr("Open a model folder (Ctrl+O)"), [this] { openModelDialog(0); })->setObjectName(QStringLiteral("open_model"));
  button(tr("Demo"), tr("Open the two models that ship with Microtome"), [this] { session_.openDemo(); })->setObjectName(QStringLiteral("demo"));
  runButton_ = button(tr("Run"), tr("Start an analysis (Ctrl+E shows the form)"), [this] { runButton_->showMenu(); });
  runButton_->setMenu(runMenu_);
  runButton_->setPopupMode(QToolButton::InstantPopup);
  compareButton_ = button(tr("Compare"), tr("Open a second model beside the first"), [this] {
    if (session_.comparing()) session_.closeModel(1);
    else openModelDialog(1);
    compareButton_->setChecked(session_.comparing());
  });
  compareButton_->setCheckable(true);
  auto comparing = [this] {
    compareButton_->setChecked(session_.comparing());
    compareButton_->setToolTip(session_.comparing() ? tr("Close the second model") : tr("Open a second model beside the first"));
    closeCompared_->setEnabled(session_.comparing());
  };
  connect(&session_, &Session::modelChanged, this, comparing);
  comparing();
  bar->addSeparator();
  device_ = new QComboBox(this);
  device_->setAccessibleName(tr("Device"));
  device_->setMinimumContentsLength(8);
  device_->addItem(tr("opening…"));
  device_->setEnabled(false);
  bar->addWidget(device_);
  connect(&session_, &Session::engineChanged, this, [this] {
    const QSignalBlocker quiet(device_);
    device_->clear();
    for (const std::string& name : session_.devices().names)
      device_->addItem(QStringLiteral("● ") + (name == "cpu" ? QStringLiteral("CPU") : qs(name).toUpper()), qs(name));
    device_->setCurrentIndex(device_->findData(session_.device()));
    device_->setEnabled(device_->count() > 1);
    device_->setToolTip(session_.devices().why_no_gpu.empty() ? tr("Where models run; models that are open move there")
                                                              : tr("Models run on the CPU: %1").arg(qs(session_.devices().why_no_gpu)));
  });
  connect(device_, &QComboBox::activated, this, [this](int i) { session_.setDevice(device_->itemData(i).toString()); });
  auto* stretch = new QWidget(this);
  stretch->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Preferred);
  bar->addWidget(stretch);
  button(tr("Find anything  Ctrl K"), tr("Panels, analyses, runs, hook points, tasks"), [this] { palette_->open(); })->setObjectName(QStringLiteral("find"));
  button(tr("Theme"), tr("Light or dark (Ctrl+Shift+D)"), [this] { setDark(!Theme::of(this).dark); })->setObjectName(QStringLiteral("theme"));
}

void MainWindow::fillLayouts() {
  layoutMenu_->clear();
  layoutMenu_->addAction(tr("Default"), this, [this] {
    restoreState(defaultState_);
    applyDefaultLayout();
  });
  QSettings settings;
  settings.beginGroup(QStringLiteral("layouts"));
  const QStringList names = settings.childKeys();
  if (!names.isEmpty()) layoutMenu_->addSeparator();
  for (const QString& name : names)
    layoutMenu_->addAction(name, this, [this, name] { restoreState(QSettings().value(QStringLiteral("layouts/") + name).toByteArray()); });
  layoutMenu_->addSeparator();
  layoutMenu_->addAction(tr("Save this layout…"), this, [this] {
    bool ok = false;
    QString name = QInputDialog::getText(this, tr("Save layout"), tr("Name"), QLineEdit::Normal, {}, &ok).trimmed();
    name.replace(QLatin1Char('/'), QLatin1Char('-'));
    if (ok && !name.isEmpty()) QSettings().setValue(QStringLiteral("layouts/") + name.left(60), saveState());
  });
  if (names.isEmpty()) return;
  QMenu* remove = layoutMenu_->addMenu(tr("Remove"));
  for (const QString& name : names) remove->addAction(name, this, [name] { QSettings().remove(QStringLiteral("layouts/") + name); });
}

void MainWindow::openModelDialog(int slot) {
  const QString folder = QFileDialog::getExistingDirectory(this, slot == 0 ? tr("Open a model folder") : tr("Open a second model"),
                                                           QSettings().value(QStringLiteral("folders/model")).toString());
  if (folder.isEmpty()) return;
  QSettings().setValue(QStringLiteral("folders/model"), QFileInfo(folder).absolutePath());
  session_.openModel(folder, slot);
}

void MainWindow::openProjectDialog() {
  const QString path = QFileDialog::getOpenFileName(this, tr("Open a project"), QFileInfo(session_.projectPath()).absolutePath(), tr("Microtome projects (*.microtome)"));
  if (!path.isEmpty()) session_.openProject(path);
}

void MainWindow::saveProjectDialog() {
  const QString path = QFileDialog::getSaveFileName(this, tr("Save project as"), QDir::homePath() + QStringLiteral("/project.microtome"), tr("Microtome projects (*.microtome)"));
  if (!path.isEmpty()) session_.saveProjectAs(path);
}

void MainWindow::openPromptsDialog() {
  const QString path = QFileDialog::getOpenFileName(this, tr("Open prompts"), {}, tr("Prompt pairs (*.jsonl)"));
  if (!path.isEmpty()) session_.setFile(path);
}

void MainWindow::showKeys() {
  delete keys_;
  auto* window = new QWidget(this, Qt::Dialog);
  keys_ = window;
  connect(window, &QObject::destroyed, this, [this, window] { if (keys_ == window) keys_ = nullptr; });
  window->setAttribute(Qt::WA_DeleteOnClose);
  window->setObjectName(QStringLiteral("keys"));
  window->setWindowTitle(tr("Keys"));
  auto* column = new QVBoxLayout(window);
  auto* table = new QTableWidget(window);
  table->setColumnCount(2);
  table->horizontalHeader()->hide();
  table->verticalHeader()->hide();
  table->setShowGrid(false);
  table->setEditTriggers(QAbstractItemView::NoEditTriggers);
  table->setSelectionMode(QAbstractItemView::NoSelection);
  QList<std::pair<QString, QString>> rows;
  for (QAction* a : allActions())
    if (!a->shortcut().isEmpty()) rows << std::pair(a->shortcut().toString(QKeySequence::NativeText), a->text().remove(QLatin1Char('&')));
  for (QAction* a : panelMenu_->actions())
    if (!a->shortcut().isEmpty()) rows << std::pair(a->shortcut().toString(QKeySequence::NativeText), tr("Panel: %1").arg(a->text().remove(QLatin1Char('&'))));
  rows << std::pair(tr("Arrows"), tr("In a picture: another cell, head, token or node")) << std::pair(tr("+  −  0"), tr("In a picture: zoom in, out, fit"))
       << std::pair(tr("Wheel"), tr("In a picture: zoom about the mouse; with Shift columns only, with Alt rows only"))
       << std::pair(tr("Enter"), tr("Open what is selected")) << std::pair(tr("Esc"), tr("Clear a brush, close a popup"))
       << std::pair(tr("K  Shift+K"), tr("In a circuit: knock the selected node out or put it back; put all back"))
       << std::pair(tr("P  N  G"), tr("In a circuit: pin a node, write a note at it, group the marked nodes"))
       << std::pair(tr("Menu key"), tr("In a picture: save as PNG, SVG or CSV, copy as command, note"));
  table->setRowCount(static_cast<int>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto* key = new QTableWidgetItem(rows[i].first);
    key->setFont(monoFont());
    table->setItem(i, 0, key);
    table->setItem(i, 1, new QTableWidgetItem(rows[i].second));
  }
  table->resizeColumnsToContents();
  table->horizontalHeader()->setStretchLastSection(true);
  column->addWidget(table);
  window->resize(560, 560);
  window->show();
}

void MainWindow::showAbout() {
  if (Panel* p = currentCentre())
    p->showNotice(tr("Microtome %1, LibTorch %2, Qt %3. The desktop app is under GPL-3.0-or-later, everything else under Apache-2.0.")
                      .arg(QStringLiteral(MICROTOME_VERSION), session_.engineReady() ? qs(session_.devices().libtorch) : tr("not open yet"), QString::fromLatin1(qVersion())));
}

void MainWindow::editNote(qint64 run, const QString& artifact) {
  delete note_;
  auto* popup = new QFrame(this, Qt::Popup);
  note_ = popup;
  connect(popup, &QObject::destroyed, this, [this, popup] { if (note_ == popup) note_ = nullptr; });
  popup->setAttribute(Qt::WA_DeleteOnClose);
  popup->setObjectName(QStringLiteral("note"));
  popup->setFrameShape(QFrame::StyledPanel);
  auto* column = new QVBoxLayout(popup);
  auto* title = new QLabel(artifact.isEmpty() ? tr("Note on run %1").arg(run) : tr("Note on %1 of run %2").arg(artifact).arg(run), popup);
  title->setProperty("role", QStringLiteral("section"));
  auto* text = new QPlainTextEdit(popup);
  const RunRecord* record = session_.findRun(run);
  text->setPlainText(artifact.isEmpty() ? (record ? qs(record->note) : QString()) : session_.viewNote(run, artifact));
  text->setPlaceholderText(tr("Kept in the project, shown in the report"));
  auto* keep = new QPushButton(tr("Keep note"), popup);
  keep->setProperty("primary", true);
  connect(keep, &QPushButton::clicked, this, [this, run, artifact, text, popup] {
    if (artifact.isEmpty()) session_.setNote(run, text->toPlainText().trimmed());
    else session_.setViewNote(run, artifact, text->toPlainText().trimmed());
    popup->close();
  });
  column->addWidget(title);
  column->addWidget(text);
  column->addWidget(keep, 0, Qt::AlignRight);
  popup->resize(360, 200);
  popup->move(QCursor::pos());
  popup->show();
  text->setFocus();
}

}  // namespace microtome::desktop

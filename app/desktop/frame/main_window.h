// main_window.h — the one window: a tool bar, panels in docks around, panels in tabs in the middle, a status line. It knows
// panels only by their PanelInfo; layout, theme and the panels' own states are kept between starts.
#pragma once

#include <QHash>
#include <QMainWindow>
#include <vector>

#include "app/desktop/panels/panel.h"

class QActionGroup;
class QComboBox;
class QDockWidget;
class QLabel;
class QMenu;
class QTabWidget;
class QTimer;
class QToolButton;

namespace microtome::desktop {

class CommandPalette;
class Session;

class MainWindow : public QMainWindow {
  Q_OBJECT
 public:
  MainWindow(Session& session, const std::vector<PanelKind>& panels);
  ~MainWindow() override;

  Panel* panel(const QString& id) const { return panels_.value(id); }
  // Brings a panel to the front, shows its dock where it is hidden.
  void showPanel(const QString& id);
  Panel* currentCentre() const;
  void setDark(bool dark);
  // Every action of the menus with its shortcut, for the palette and the list of keys.
  QList<QAction*> allActions() const;

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  void makePanels(const std::vector<PanelKind>& kinds);
  void makeMenus();
  void makeToolBar();
  void connectSession();
  void restoreLayout();
  void saveLayout();
  void applyDefaultLayout();
  void fillRecent(QMenu* menu, const QStringList& paths, const std::function<void(const QString&)>& open);
  void fillLayouts();
  void updateTitle();
  void updateStatus();
  void openModelDialog(int slot);
  void openProjectDialog();
  void saveProjectDialog();
  void openPromptsDialog();
  void showKeys();
  void showAbout();
  void editNote(qint64 run, const QString& artifact);
  void openDropped(const QString& path, int slot);

  Session& session_;
  QHash<QString, Panel*> panels_;
  QHash<QString, QDockWidget*> docks_;
  std::vector<PanelInfo> infos_;
  QTabWidget* tabs_;
  QMenu *runMenu_ = nullptr, *layoutMenu_ = nullptr, *panelMenu_ = nullptr;
  QToolButton *runButton_ = nullptr, *compareButton_ = nullptr;
  QComboBox* device_ = nullptr;
  QLabel *hover_ = nullptr, *jobState_ = nullptr, *projectState_ = nullptr;
  QAction *darkAction_ = nullptr, *closeCompared_ = nullptr;
  QTimer* jobTimer_;
  CommandPalette* palette_ = nullptr;
  QWidget *keys_ = nullptr, *note_ = nullptr;
  QByteArray defaultState_;
  const void* known_[2] = {nullptr, nullptr};   // the models that were open last, to tell a new one
};

}  // namespace microtome::desktop

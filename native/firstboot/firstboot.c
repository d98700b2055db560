// doppel-firstboot: a Windows service that runs the scripts that a conversion left for the first boot.
//
//   FOLDER\firstboot.exe            as the service of that name
//   FOLDER\firstboot.exe --console  the same in the foreground
//
// FOLDER\scripts\NNNN-name.cmd or .ps1 run in the order of their names, each once: a script is moved to FOLDER\done before it
// starts, so that a restart in its midst does not run it again. What they print goes to FOLDER\log.txt. A script that ends with
// 3010 (ERROR_SUCCESS_REBOOT_REQUIRED) has the machine restarted; the rest runs then. When none is left the service removes itself.

#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <wchar.h>

#define SERVICE_NAME L"doppel-firstboot"
enum { PATH_ROOM = 1024, COMMAND_ROOM = 3 * PATH_ROOM };

typedef enum { ALL_DONE, RESTART, FAILED } outcome;

static wchar_t folder[PATH_ROOM];
static HANDLE log_file = INVALID_HANDLE_VALUE;
static SERVICE_STATUS_HANDLE status_handle;
static volatile LONG stopping;

static void say(const wchar_t *what, const wchar_t *name, DWORD number) {
    SYSTEMTIME now;
    wchar_t line[PATH_ROOM + 128];
    char bytes[2 * sizeof line];
    DWORD written;
    GetSystemTime(&now);
    _snwprintf(line, PATH_ROOM + 127, L"%04d-%02d-%02dT%02d:%02d:%02dZ %ls %ls %lu\r\n", now.wYear, now.wMonth, now.wDay,
               now.wHour, now.wMinute, now.wSecond, what, name, (unsigned long)number);
    line[PATH_ROOM + 127] = 0;
    int length = WideCharToMultiByte(CP_UTF8, 0, line, -1, bytes, sizeof bytes, NULL, NULL);
    if (length > 1 && log_file != INVALID_HANDLE_VALUE) WriteFile(log_file, bytes, (DWORD)length - 1, &written, NULL);
}

// Joins the folder of the program and a path below it; false when it would be too long.
static bool below(wchar_t *path, const wchar_t *relative) {
    int length = _snwprintf(path, PATH_ROOM - 1, L"%ls\\%ls", folder, relative);
    path[PATH_ROOM - 1] = 0;
    return length > 0 && length < PATH_ROOM - 1;
}

static bool find_folder(void) {
    DWORD length = GetModuleFileNameW(NULL, folder, PATH_ROOM);
    if (length == 0 || length >= PATH_ROOM) return false;
    wchar_t *slash = wcsrchr(folder, L'\\');
    if (!slash) return false;
    *slash = 0;
    return true;
}

static bool open_log(void) {
    wchar_t path[PATH_ROOM];
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    if (!below(path, L"log.txt")) return false;
    log_file = CreateFileW(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_ALWAYS,
                           FILE_ATTRIBUTE_NORMAL, NULL);
    return log_file != INVALID_HANDLE_VALUE;
}

static bool has_ending(const wchar_t *name, const wchar_t *ending) {
    size_t length = wcslen(name), tail = wcslen(ending);
    return length > tail && _wcsicmp(name + length - tail, ending) == 0;
}

// The script that comes first by its name; false when there is none.
static bool next_script(wchar_t *name) {
    wchar_t pattern[PATH_ROOM];
    WIN32_FIND_DATAW found;
    bool any = false;
    if (!below(pattern, L"scripts\\*")) return false;
    HANDLE search = FindFirstFileW(pattern, &found);
    if (search == INVALID_HANDLE_VALUE) return false;
    do {
        if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) continue;
        if (!has_ending(found.cFileName, L".cmd") && !has_ending(found.cFileName, L".ps1")) continue;
        if (any && wcscmp(found.cFileName, name) >= 0) continue;
        wcsncpy(name, found.cFileName, MAX_PATH);
        any = true;
    } while (FindNextFileW(search, &found));
    FindClose(search);
    return any;
}

// Runs a script to its end; its exit code, or the system's error with the high bit set.
static DWORD run(const wchar_t *path) {
    wchar_t command[COMMAND_ROOM];
    const wchar_t *format =
        has_ending(path, L".ps1")
            ? L"powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File \"%ls\""
            : L"cmd.exe /d /s /c \"\"%ls\"\"";
    _snwprintf(command, COMMAND_ROOM - 1, format, path);
    command[COMMAND_ROOM - 1] = 0;
    STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES, .hStdOutput = log_file, .hStdError = log_file};
    PROCESS_INFORMATION process;
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, folder, &start, &process))
        return GetLastError() | 0x80000000u;
    WaitForSingleObject(process.hProcess, INFINITE);
    DWORD code = 0;
    GetExitCodeProcess(process.hProcess, &code);
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    return code;
}

static outcome run_scripts(void) {
    wchar_t name[MAX_PATH + 1] = L"", relative[PATH_ROOM], from[PATH_ROOM], to[PATH_ROOM];
    if (!below(to, L"done")) return FAILED;
    CreateDirectoryW(to, NULL);
    while (!stopping && next_script(name)) {
        name[MAX_PATH] = 0;
        _snwprintf(relative, PATH_ROOM - 1, L"scripts\\%ls", name);
        relative[PATH_ROOM - 1] = 0;
        if (!below(from, relative)) return FAILED;
        _snwprintf(relative, PATH_ROOM - 1, L"done\\%ls", name);
        relative[PATH_ROOM - 1] = 0;
        if (!below(to, relative)) return FAILED;
        // Written through: after a cut of power it must not run a second time.
        if (!MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
            say(L"cannot move", name, GetLastError());
            return FAILED;
        }
        say(L"starts", name, 0);
        DWORD code = run(to);
        say(L"ended", name, code);
        if (code == ERROR_SUCCESS_REBOOT_REQUIRED) return RESTART;
    }
    return stopping ? FAILED : ALL_DONE;
}

static void remove_service(void) {
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    if (!manager) return;
    SC_HANDLE service = OpenServiceW(manager, SERVICE_NAME, DELETE);
    if (service) {
        if (!DeleteService(service)) say(L"cannot be removed", SERVICE_NAME, GetLastError());
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
}

static void restart_machine(void) {
    HANDLE token;
    TOKEN_PRIVILEGES privileges = {.PrivilegeCount = 1};
    if (OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token)) {
        LookupPrivilegeValueW(NULL, SE_SHUTDOWN_NAME, &privileges.Privileges[0].Luid);
        privileges.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
        AdjustTokenPrivileges(token, FALSE, &privileges, 0, NULL, NULL);
        CloseHandle(token);
    }
    if (!InitiateSystemShutdownExW(NULL, NULL, 0, TRUE, TRUE, SHTDN_REASON_MAJOR_OPERATINGSYSTEM | SHTDN_REASON_FLAG_PLANNED))
        say(L"cannot restart the machine", L"", GetLastError());
}

static DWORD WINAPI control(DWORD code, DWORD type, LPVOID data, LPVOID context) {
    (void)type, (void)data, (void)context;
    if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN) InterlockedExchange(&stopping, 1);
    return code == SERVICE_CONTROL_INTERROGATE || stopping ? NO_ERROR : ERROR_CALL_NOT_IMPLEMENTED;
}

static void report(DWORD state, DWORD code) {
    SERVICE_STATUS status = {
        .dwServiceType = SERVICE_WIN32_OWN_PROCESS,
        .dwCurrentState = state,
        .dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0,
        .dwWin32ExitCode = code,
    };
    SetServiceStatus(status_handle, &status);
}

static void WINAPI service_main(DWORD argc, LPWSTR *argv) {
    (void)argc, (void)argv;
    status_handle = RegisterServiceCtrlHandlerExW(SERVICE_NAME, control, NULL);
    if (!status_handle) return;
    report(SERVICE_RUNNING, NO_ERROR);
    outcome result = run_scripts();
    if (result == ALL_DONE) remove_service();
    if (result == RESTART) restart_machine();
    report(SERVICE_STOPPED, result == FAILED ? ERROR_GEN_FAILURE : NO_ERROR);
}

int wmain(int argc, wchar_t **argv) {
    if (!find_folder() || !open_log()) return 1;
    if (argc == 2 && wcscmp(argv[1], L"--console") == 0) {
        outcome result = run_scripts();
        return result == ALL_DONE ? 0 : result == RESTART ? ERROR_SUCCESS_REBOOT_REQUIRED : 1;
    }
    SERVICE_TABLE_ENTRYW table[] = {{(LPWSTR)SERVICE_NAME, service_main}, {NULL, NULL}};
    if (!StartServiceCtrlDispatcherW(table)) {
        say(L"is no service here; use --console", L"", GetLastError());
        return 1;
    }
    return 0;
}

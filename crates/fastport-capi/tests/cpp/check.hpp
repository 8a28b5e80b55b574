// A test program: tests that are sentences, run one after another on the backend that the command line names.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace check {

struct Test {
    const char* sentence;
    void (*body)();
};

inline std::vector<Test>& Tests() {
    static std::vector<Test> tests;
    return tests;
}

inline const char*& Backend() {
    static const char* backend = nullptr;
    return backend;
}

struct Registered {
    Registered(const char* sentence, void (*body)()) { Tests().push_back({sentence, body}); }
};

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
    std::fflush(stderr);
    std::_Exit(1);
}

inline int Run(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s BACKEND\n", argv[0]);
        return 2;
    }
    Backend() = argv[1];
    for (const Test& test : Tests()) {
        std::printf("  %s\n", test.sentence);
        std::fflush(stdout);
        test.body();
    }
    std::printf("%zu tests passed on %s\n", Tests().size(), Backend());
    return 0;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(sentence)                                                                                       \
    static void CHECK_JOIN(Test, __LINE__)();                                                                \
    static const check::Registered CHECK_JOIN(registered, __LINE__){sentence, &CHECK_JOIN(Test, __LINE__)}; \
    static void CHECK_JOIN(Test, __LINE__)()
#define CHECK(condition) \
    do { if (!(condition)) check::Fail(__FILE__, __LINE__, "not so: " #condition); } while (false)
#define CHECK_EQUAL(left, right)                                                                            \
    do {                                                                                                    \
        const auto leftValue = (left);                                                                      \
        const auto rightValue = (right);                                                                    \
        if (!(leftValue == rightValue)) {                                                                   \
            check::Fail(__FILE__, __LINE__, std::string(#left " is ") + std::to_string((long long)leftValue) + \
                                                ", not " + std::to_string((long long)rightValue));          \
        }                                                                                                   \
    } while (false)

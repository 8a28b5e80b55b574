#include <cstdio>

#include <fastport/AsyncIOProvider.hpp>
#include <fastport/IocpAdapter.hpp>
#include <fastport/RaonAsyncIO.hpp>

int main() {
    auto provider = Network::CreateAsyncIOProvider();
    if (!provider->Initialize(100)) return 1;
    std::printf("FastPort %s uses %s\n", fp_version(), provider->GetBackendName());
}
